"""Every frame of the source is in exactly one part, whatever the container and the engine."""

from collections.abc import Callable
from pathlib import Path

import pytest

SOURCES = {
    "mp4": ("30", "s.mp4", "-bf 2 -g 40"),
    "ntsc": ("30000/1001", "s.mp4", "-bf 2 -g 300"),
    "film in matroska": ("24000/1001", "s.mkv", "-bf 3 -g 250"),
    "open groups of pictures": ("25", "s.mkv", "-bf 3 -g 20 -x264-params open-gop=1"),
    "fragments": ("25", "s.mp4", "-g 10 -movflags +frag_keyframe+empty_moov"),
    "live webm": ("25", "s.webm", "-c:v libvpx -deadline realtime -b:v 1M -g 30 -c:a libopus -live 1"),
    "transport stream": ("25", "s.ts", "-bf 2 -g 60"),
    "interlaced": ("25", "s.ts", "-flags +ilme+ildct -x264-params tff=1 -bf 2 -g 50"),
    "mpeg2 with open groups": ("25", "s.ts", "-c:v mpeg2video -q:v 3 -bf 2 -g 15"),
    "flash": ("25", "s.flv", "-bf 2 -g 60 -ar 44100"),
    "avi": ("25", "s.avi", "-c:v mpeg4 -q:v 3 -g 30 -c:a pcm_s16le"),
    "avi with B-frames": ("25", "s.avi", "-c:v mpeg4 -q:v 3 -bf 2 -g 30 -c:a pcm_s16le"),
    "avi with h264": ("25", "s.avi", "-bf 3 -g 50 -x264-params b-pyramid=normal -c:a pcm_s16le"),
    "hevc": ("25", "s.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none:open-gop=1 -g 30 -tag:v hvc1"),
    "quicktime": ("50", "s.mov", "-bf 2"),
    "no B-frames, one key frame": ("30", "s.mp4", "-tune zerolatency -g 1000"),
}


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
@pytest.mark.parametrize("kind", SOURCES)
def test_frames_are_all_there_and_none_twice(
    kind: str,
    engine: str,
    numbered: Callable[..., Path],
    render_all: Callable[..., list[object]],
    joined_numbers: Callable[[list[object]], list[int]],
) -> None:
    rate, name, options = SOURCES[kind]
    frames = 130
    clips = render_all(numbered(frames, rate, name, options), engine=engine)
    assert len(clips) > 1
    assert joined_numbers(clips) == list(range(frames))
