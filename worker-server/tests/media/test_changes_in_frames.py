"""Sizes and shapes of pixels that only the coded pictures tell; the container says the first."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_testing import read_numbers

from worker_server.media import Source

Make = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

X264 = "-c:v libx264 -preset ultrafast -crf 10"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M"


def test_key_frames_of_another_size(
    numbered: Make, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    """VP9 tells a size in each key frame; that of the track stays."""
    first = numbered(20, "25", "a.webm", VP9, sound=False)
    second = numbered(20, "25", "b.webm", VP9, sound=False, first=20, size=(240, 136))
    listing = tmp_path / "list.txt"
    listing.write_text(f"file '{first}'\nfile '{second}'\n")
    path = make(f"-f concat -safe 0 -i {listing} -c copy", "joined.mp4")
    source, prepared_path = prepared(path)
    assert read_numbers(prepared_path) == list(range(40))
    assert (source.width, source.height, source.frame_rate) == (320, 180, 25)


@pytest.mark.parametrize("name", ["joined.ts", "joined.mkv"])
def test_pixels_of_another_shape_in_h264(
    name: str, make: Make, prepared: Prepared, tmp_path: Path
) -> None:
    """A white square is a square before and after the shape of a pixel changes."""
    pieces = []
    for sar in (Fraction(1), Fraction(3, 4)):
        # As wide as high when shown.
        width = round(80 / sar)
        square = f"drawbox=x=160-{width // 2}:y=50:w={width}:h=80:color=white:t=fill"
        picture = f"-f lavfi -i color=black:s=320x180:r=25:d=0.8,{square},setsar={sar}"
        pieces.append(make(f"{picture} {X264} -g 25 -bf 0", "piece.ts"))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    if name != "joined.ts":
        listing = tmp_path / "list.txt"
        listing.write_text("".join(f"file '{piece}'\n" for piece in pieces))
        joined = make(f"-f concat -safe 0 -i {listing} -c copy", name)
    _, path = prepared(joined)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        aspect = container.streams.video[0].sample_aspect_ratio or 1
    assert len(frames) == 40
    for frame in (frames[2], frames[18], frames[22], frames[38]):
        rows, columns = np.nonzero(frame > 128)
        shown = (np.ptp(columns) + 1) * float(aspect) / (np.ptp(rows) + 1)
        assert shown == pytest.approx(1, abs=0.04)
