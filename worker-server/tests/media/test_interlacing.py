"""A source that turns interlaced on its way shows no combs, and keeps its rate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_testing import some_slow
from numpy.typing import NDArray
from vc1_testing import stream

from worker_server.media import Aspect

Make = Callable[..., Path]

# A bar that moves by one of fifty parts of the width in each of fifty fields a second.
BAR = (
    "-f lavfi -i color=black:s=320x192:r=50:d=1,"
    "drawbox=x=20:y=0:w=60:h=192:c=white:t=fill,scroll=h=-.02"
)
X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 25 -pix_fmt yuv420p"
MPEG2 = "-c:v mpeg2video -q:v 2 -g 15 -pix_fmt yuv420p"
FIELDS = "-flags +ilme+ildct"
KINDS = {
    "h264 in a transport stream": ("s.ts", X264, f"{FIELDS} -x264-params tff=1"),
    "h264 in matroska": ("s.mkv", X264, f"{FIELDS} -x264-params tff=1"),
    "mpeg-2": ("s.mpg", MPEG2, FIELDS),
}


def combs(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [
            comb(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
            for frame in container.decode(video=0)
        ]


def comb(frame: NDArray[np.uint8]) -> float:
    """Return how much more lines differ from their neighbours than from those of their own field.

    About 1 for a whole frame, far more where two fields show two moments.
    """
    lines = frame.astype(np.int16)
    of_neighbours = np.abs(lines[1:-1] - lines[:-2]).mean()
    of_a_field = np.abs(lines[2:] - lines[:-2]).mean()
    return float((of_neighbours + 1) / (of_a_field + 1))


@pytest.mark.parametrize("kind", some_slow(KINDS, "mpeg-2"))
def test_no_combs_wherever_interlacing_begins(
    kind: str, make: Make, render_all: Callable[..., list[Any]], tmp_path: Path
) -> None:
    name, codec, interlaced = KINDS[kind]
    # The pieces have one sequence header where the codec has one for fields.
    same = "-x264-params fake-interlaced=1" if codec == X264 else ""
    pieces = [
        make(f"{BAR},framestep=2,fps=25 {codec} {same}", name),
        make(f"{BAR},tinterlace=interleave_top {codec} {interlaced}", name),
    ]
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"file '{piece}'\n" for piece in pieces))
    joined = make(f"-f concat -safe 0 -i {listing} -c copy", name)
    assert max(combs(joined)) > 3
    (clip,) = render_all(joined, part_s=20)
    assert clip.edit.frame_rate == 25
    assert clip.edit.part.frame_count == 50
    bumper = clip.edit.frames_before
    assert max(combs(clip.path)[bumper:-bumper]) < 1.5


@pytest.mark.parametrize(
    "turn", ["-display_rotation 90", "-display_rotation 180", "-display_vflip"]
)
def test_turned_pictures_have_no_combs(
    turn: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    fields = make(f"{BAR},tinterlace=interleave_top {X264} {FIELDS} -x264-params tff=1", "s.mp4")
    turned = make(f"{turn} -i {fields} -c copy", "turned.mp4")
    (clip,) = render_all(turned, part_s=20, aspect=Aspect.SOURCE, logo_s=0.2)
    with av.open(str(clip.path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    shown = frames[clip.edit.frames_before : clip.edit.frames_before + 10]
    upright = [frame.T if "90" in turn else frame for frame in shown]
    assert max(comb(np.asarray(frame, np.uint8)) for frame in upright) < 1.5
    if "90" in turn:
        return
    # Of each frame the first field is shown: of 12.8 pixels' motion, the bar has made none.
    is_turned = "180" in turn
    first, step = (319 - 49.5, -12.8) if is_turned else (49.5, 12.8)
    places = [float(np.nonzero(frame[96] > 128)[0].mean()) for frame in upright]
    assert places == pytest.approx([first + step * number for number in range(10)], abs=2)


@pytest.mark.parametrize("name", ["s.mkv", "s.ts", "s.wmv"])
def test_vc1_that_turns_interlaced(
    name: str, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    coded = stream([False] * 10 + [True] * 15)
    path = make("-f vc1 -framerate 25 -i pipe:0 -c copy", name, stdin=coded)
    assert max(combs(path)) > 3
    (clip,) = render_all(path, part_s=20)
    bumper = clip.edit.frames_before
    assert clip.edit.part.frame_count == 25
    assert max(combs(clip.path)[bumper:-bumper]) < 1.5
