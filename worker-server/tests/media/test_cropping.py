"""What a container hides of its pictures is in no clip: clean apertures, Matroska's cropping."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mp4_testing import with_aperture

from worker_server.media import probe

Make = Callable[..., Path]

# The picture of 320x180 stands in a red one of 360x200, which the container is to hide.
PADDED = "-vf format=yuv420p,pad=360:200:{left}:{top}:red"
X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 25"


@pytest.mark.parametrize(
    ("name", "options"),
    [("s.mov", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p"), ("s.mp4", X264), ("s.mkv", X264)],
)
@pytest.mark.parametrize(("left", "top"), [(20, 10), (8, 16)])
def test_only_what_the_container_shows(
    left: int,
    top: int,
    name: str,
    options: str,
    numbered: Make,
    make: Make,
    render_all: Callable[..., list[Any]],
    joined_numbers: Callable[[list[Any]], list[int]],
    tmp_path: Path,
) -> None:
    whole = numbered(50, "25", f"s.{name[-3:].replace('mkv', 'mp4')}", _padded(left, top, options))
    # Width and height, and how far its centre is from that of the picture.
    aperture = (320, 1, 180, 1, left - 20, 1, top - 10, 1)
    path = with_aperture(whole, aperture, tmp_path / f"cropped.{whole.suffix}")
    if name == "s.mkv":
        path = make(f"-i {path} -c copy", name)
    source = probe(path)
    assert (source.width, source.height) == (320, 180)
    clips = render_all(path, part_s=2)
    assert joined_numbers(clips) == list(range(50))
    with av.open(str(clips[0].path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][40]
    edges = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]]).astype(int)
    assert (edges[:, 0] - edges[:, 1]).max() < 60  # grey, not red


def _padded(left: int, top: int, options: str) -> str:
    return f"{PADDED.format(left=left, top=top)} {options if '-c:v' in options else X264}"


@pytest.mark.parametrize(
    "aperture",
    [(320, 0, 180, 1, 0, 1, 0, 1), (400, 1, 180, 1, 0, 1, 0, 1), (320, 1, 180, 1, 90, 1, 0, 1)],
    ids=["no number", "larger than the picture", "beside it"],
)
def test_impossible_apertures_hide_nothing(
    aperture: tuple[int, ...],
    numbered: Make,
    render_all: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    whole = numbered(5, "25", "s.mp4", _padded(20, 10, X264))
    (clip,) = render_all(with_aperture(whole, aperture, tmp_path / "odd.mp4"))
    source = clip.edit.source
    assert (source.width, source.height, clip.facts.frames) == (360, 200, 55)
