"""What a container hides of its pictures is in no clip: clean apertures, Matroska's cropping."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mp4_testing import with_aperture

from worker_server.media import Aspect, plan_parts, probe

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


HEVC = "-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=10"


@pytest.mark.parametrize(
    "options",
    [
        f"{X264} -bsf:v h264_metadata=crop_left=20:crop_right=20:crop_top=10:crop_bottom=10",
        f"{HEVC} -bsf:v hevc_metadata=crop_left=20:crop_right=20:crop_top=10:crop_bottom=10",
        f"{X264} -pix_fmt yuv444p -bsf:v h264_metadata=crop_left=21:crop_top=11",
    ],
    ids=["h264", "hevc", "h264 in 4:4:4"],
)
@pytest.mark.parametrize(
    ("engine", "is_decoded_first"), [("ffmpeg", False), ("moviepy", False), ("ffmpeg", True)]
)
def test_only_what_the_coded_pictures_show(
    is_decoded_first: bool,
    engine: str,
    options: str,
    make: Make,
    prepared: Callable[[Path], Any],
    render: Callable[..., Any],
) -> None:
    """Edges of any width, as tools write them who crop without encoding again."""
    bars = "color=red:s=360x200:r=25:d=0.4,drawbox=180:10:160:180:blue:fill"
    path = make(f"-f lavfi -i {bars} -pix_fmt yuv420p {options}", "s.mp4")
    if is_decoded_first:
        path = make(f"-i {path} -c copy -bsf:v setts=ts=TS+gt(N\\,4)*9000000", "jump.ts")
    source, ready = prepared(path)
    [part] = plan_parts(source)
    clip = render(source, ready, part, engine=engine, aspect=Aspect.SOURCE, logo_s=0)
    with av.open(str(clip.path)) as container:
        frame = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][6]
    is_blue = frame[90, :, 2].astype(int) - frame[90, :, 0] > 100
    assert np.argmax(is_blue) == pytest.approx(160, abs=2)
    assert frame.shape[:2] == (188, 338 if "444" in options else 328)
