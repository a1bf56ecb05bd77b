"""Reading from the middle of MP4 with open groups of pictures.

MP4 is sought by decoding time. A key frame of an open group is decoded before the pictures that
are shown before it (leading pictures): a seek to one of them finds the key frame after it, from
which on they cannot be decoded.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from worker_server.media import (
    Cut,
    FrameRange,
    PartEdit,
    PrepareWatch,
    TimeRange,
    plan_cuts,
    probe,
)
from worker_server.media.model.containers import open_source
from worker_server.media.verifying.damage import damaged_frames

Make = Callable[..., Path]
X264 = "-c:v libx264 -preset veryfast -bf 8 -x264-params b-adapt=0:open-gop=1:scenecut=0"
OPEN = {
    "h264": f"{X264} -g 18",
    "hevc": "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=4:b-adapt=0"
    ":keyint=20:min-keyint=20:scenecut=0:open-gop=1",
    "mpeg-2": "-c:v mpeg2video -q:v 3 -bf 2 -g 12",
}


@pytest.mark.parametrize("codec", OPEN)
def test_leading_pictures_are_no_damage(codec: str, numbered: Make) -> None:
    path = numbered(60, "25", "s.mp4", OPEN[codec], sound=False)
    source = probe(path)
    damaged = {}
    for start in range(10, 50):
        edit = PartEdit.of(source, path, FrameRange(0, start, 60, source.frame_rate))
        with open_source(path, source.demuxer) as container:
            damaged[start] = damaged_frames(container, edit)
    assert {start: count for start, count in damaged.items() if count} == {}


def test_a_scene_change_at_a_key_frame_of_an_open_group_is_found(make: Make) -> None:
    """The last quarter of 4.2 s begins with frame 79; the eight pictures before 81 are leading."""
    shots = "color=red:s=160x90:r=25:d=3.24[a];color=blue:s=160x90:r=25:d=3.76[b];[a][b]concat"
    options = f"-force_key_frames 3.24 -g 250 {X264} -pix_fmt yuv420p"
    path = make(f"-f lavfi -i {shots} {options}", "s.mp4")
    clips = plan_cuts(
        probe(path), path, [TimeRange()], Fraction("4.2"), Cut.SCENE, PrepareWatch("ffmpeg")
    )
    assert [clip.part.end_frame for clip in clips] == [81, 175]


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_slow_pictures_of_open_groups_are_shown_once(
    engine: str, numbered: Make, render: Callable[..., Any]
) -> None:
    """Of four frames a second a group is decoded two seconds before it is shown."""
    path = numbered(60, "4", "s.mp4", OPEN["h264"])
    source = probe(path)
    clip = render(source, path, FrameRange(0, 16, 24, source.frame_rate), engine=engine)
    assert clip.numbers() == list(range(16, 24))
