"""Pictures that change in size or colours, but not in shape: all of each is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from idrl_testing.numbered import picture
from worker_server.media import Aspect

Make = Callable[..., Path]

VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M"
X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 25"
FULL_RANGE = "-vf scale=in_range=full:out_range=full -color_range pc"
KINDS = {
    "an upright call": ("webm", [((180, 320), VP8), ((136, 240), VP8), ((180, 320), VP8)]),
    "an upright stream": ("ts", [((180, 320), X264), ((270, 480), X264)]),
    "4:3": ("mkv", [((320, 240), X264), ((240, 180), X264)]),
    "an upright picture with another range": (
        "mkv",
        [((180, 320), X264), ((180, 320), f"{X264} {FULL_RANGE}")],
    ),
}
FRAMES = 25


def frame(number: int, size: tuple[int, int]) -> bytes:
    """Return a picture with a number, and with a white edge at the top and a black one below."""
    drawn = picture(number, *size)
    edge = size[1] // 10
    drawn[:edge], drawn[-edge:] = 225, 30
    return drawn.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_changing_shape_are_not_cropped(
    kind: str, make: Make, render_all: Callable[..., list[Any]], tmp_path: Path
) -> None:
    name, pieces = KINDS[kind]
    paths = []
    for index, ((width, height), codec) in enumerate(pieces):
        numbers = range(index * FRAMES, (index + 1) * FRAMES)
        raw = b"".join(frame(number, (width, height)) for number in numbers)
        read = f"-f rawvideo -pix_fmt gray -s {width}x{height} -framerate 25 -i pipe:0"
        paths.append(make(f"{read} -pix_fmt yuv420p {codec}", f"piece.{name}", stdin=raw))
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"file '{path}'\n" for path in paths))
    joined = make(f"-f concat -safe 0 -i {listing} -c copy", f"joined.{name}")
    [clip] = render_all(joined, part_s=20, aspect=Aspect.SOURCE, logo_s=0.2)
    assert (clip.edit.width, clip.edit.height) == max(size for size, _ in pieces)
    assert clip.numbers() == list(range(FRAMES * len(pieces)))
    with av.open(str(clip.path)) as container:
        shown = [each.to_ndarray(format="gray") for each in container.decode(video=0)]
    for each in shown[clip.edit.frames_before : clip.edit.frames_before + len(clip.numbers())]:
        assert np.mean(each[2:8]) > 190
        assert np.mean(each[-8:-2]) < 60
