"""Sizes, shapes of pixels and colours that only the coded pictures tell."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_testing import read_numbers

from worker_server.media import Preparation, Source

Make = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]
RenderAll = Callable[..., list[Any]]

X264 = "-c:v libx264 -preset ultrafast -crf 10"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M"
SORENSON = "-c:v flv -q:v 2"
NARROW = Fraction(3, 4)
DV_SHAPES = {
    576: (Fraction(16, 15), Fraction(64, 45)),
    480: (Fraction(8, 9), Fraction(32, 27)),
}


@pytest.mark.parametrize(
    ("codec", "name"), [(VP9, "joined.mp4"), (SORENSON, "joined.flv"), (SORENSON, "joined.mkv")]
)
def test_key_frames_of_another_size(
    codec: str, name: str, numbered: Make, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    """VP9 and Sorenson's H.263 tell a size in each key frame; that of the track stays."""
    piece = "piece.flv" if codec == SORENSON else "piece.webm"
    first = numbered(20, "25", piece, codec, sound=False)
    second = numbered(20, "25", piece, codec, sound=False, first=20, size=(240, 136))
    path = joined([first, second], name, make, tmp_path)
    source, prepared_path = prepared(path)
    assert read_numbers(prepared_path) == list(range(40))
    assert (source.width, source.height, source.frame_rate) == (320, 180, 25)


TAGGED = "-bsf:v mpeg2_metadata=colour_primaries=1:transfer_characteristics=1:matrix_coefficients="


@pytest.mark.parametrize("name", ["joined.ts", "joined.mkv"])
@pytest.mark.parametrize(
    ("first", "second", "preparation"),
    [
        ("", f"{TAGGED}1", Preparation.NORMALIZE),
        (f"{TAGGED}1", f"{TAGGED}6", Preparation.NORMALIZE),
        (f"{TAGGED}1", "", Preparation.NONE),
    ],
    ids=["first", "other", "none"],
)
def test_colours_that_begin_or_change_in_mpeg2(
    first: str,
    second: str,
    preparation: Preparation,
    name: str,
    numbered: Make,
    make: Make,
    render_all: RenderAll,
    tmp_path: Path,
) -> None:
    """Recordings of two programs; decoders apply what they were told last."""
    codec = "-c:v mpeg2video -q:v 2 -bf 2 -g 10"
    pieces = [
        numbered(25, "25", "piece.ts", f"{codec} {tags}", sound=False, first=number)
        for number, tags in ((0, first), (25, second))
    ]
    first_s, last_s = render_all(joined(pieces, name, make, tmp_path))
    assert first_s.numbers() + last_s.numbers() == list(range(50))
    assert first_s.edit.source.preparation is preparation


def joined(pieces: list[Path], name: str, make: Make, folder: Path) -> Path:
    listing = folder / "list.txt"
    listing.write_text("".join(f"file '{piece}'\n" for piece in pieces))
    return make(f"-f concat -safe 0 -i {listing} -c copy", name)


@pytest.mark.parametrize("name", ["joined.ts", "joined.mkv"])
def test_pixels_of_another_shape_in_h264(
    name: str, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    codec = f"{X264} -g 25 -bf 0"
    pieces = [
        make(f"{square((320, 180), sar)} {codec}", "piece.ts") for sar in (Fraction(1), NARROW)
    ]
    whole = tmp_path / "joined.ts"
    whole.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    path = whole if name == "joined.ts" else joined(pieces, name, make, tmp_path)
    assert_square(prepared(path)[1])


@pytest.mark.parametrize("name", ["joined.avi", "joined.mov"])
@pytest.mark.parametrize("size", [(720, 576), (720, 480)])
def test_pixels_of_another_shape_in_dv(
    size: tuple[int, int], name: str, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    """A tape with scenes of 4:3 and of 16:9: each frame tells which."""
    codec = f"-c:v dvvideo -pix_fmt {'yuv420p' if size[1] == 576 else 'yuv411p'}"
    rate = "25" if size[1] == 576 else "30000/1001"
    pieces = [make(f"{square(size, sar, rate)} {codec}", "piece.avi") for sar in DV_SHAPES[size[1]]]
    assert_square(prepared(joined(pieces, name, make, tmp_path))[1])


def square(size: tuple[int, int], sar: Fraction, rate: str = "25") -> str:
    """Return the arguments of 20 black pictures with a white square, as wide as high when shown."""
    high = size[1] * 4 // 9
    wide = round(high / sar)
    box = f"drawbox=x={(size[0] - wide) // 2}:y={size[1] // 4}:w={wide}:h={high}:color=white:t=fill"
    black = f"color=black:s={size[0]}x{size[1]}:r={rate}"
    return f"-f lavfi -i {black},{box},setsar={sar} -frames:v 20"


def assert_square(path: Path) -> None:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        aspect = container.streams.video[0].sample_aspect_ratio or 1
    assert len(frames) == 40
    for frame in (frames[2], frames[18], frames[22], frames[38]):
        rows, columns = np.nonzero(frame > 128)
        shown = (np.ptp(columns) + 1) * float(aspect) / (np.ptp(rows) + 1)
        assert shown == pytest.approx(1, abs=0.04)
