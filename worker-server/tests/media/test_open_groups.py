"""Sources that begin with, or hold, pictures whose references are missing or come late.

Another decoder says which frames are to be seen: ffmpeg, where the clips are made by PyAV.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from media_testing import click_times, read_numbers, some_slow

from worker_server.media import Source

Make = Callable[..., Path]

X264 = "-c:v libx264 -preset ultrafast -crf 10"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:crf=10"
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=4"
# Where a cut without decoding begins: with a picture whose leading pictures refer to what is gone.
OPEN = {
    "mpeg-2 in a program stream": (
        "s.mpg",
        "-c:v mpeg2video -q:v 2 -bf 2 -g 15 -c:a mp2",
    ),
    "h.264 from a recovery point": (
        "s.ts",
        f"{X264} -bf 2 -g 20 -x264-params open-gop=1:scenecut=0 -c:a aac",
    ),
    "hevc from a clean random access picture": (
        "s.mkv",
        f"{X265}:bframes=3:keyint=20:open-gop=1:scenecut=0 -c:a libopus",
    ),
}


def leads(path: Path) -> bool:
    """Return whether the first packets have pictures that are shown before the very first."""
    with av.open(str(path)) as container:
        first, *others = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert first is not None
    return any(stamp is None or stamp < first for stamp in others)  # Matroska has none below zero


@pytest.mark.parametrize("kind", OPEN)
def test_an_open_group_at_the_start_moves_no_sound(
    kind: str, numbered: Make, make: Make, render_all: Callable[..., list[Any]]
) -> None:
    name, options = OPEN[kind]
    picture = numbered(100, "25", "p.mkv", f"{X264} -g 1", sound=False)
    whole = make(f"-i {picture} {CLICKS} -map 0:v -map 1:a {options}", name)
    cut = make(f"-ss 1 -i {whole} -c copy", name)
    assert leads(cut)
    [clip] = render_all(cut, part_s=20, logo_s=1)
    numbers = clip.numbers()
    assert numbers == list(range(numbers[0], 100))
    assert 0 < numbers[0] <= 50
    moments = [moment - 1 + numbers[0] / 25 for moment in click_times(clip.path)]
    assert len(moments) >= 2
    assert moments == pytest.approx([0.1, 1.1, 2.1, 3.1][-len(moments) :], abs=0.03)


RADL = f"{X265}:radl=2:open-gop=0:keyint=25:min-keyint=25:bframes=3"
VVC = "-c:v libvvenc -preset faster -qp 20 -period 1 -threads 2 -pix_fmt yuv420p10le"
LEADING = {
    "fragments with negative offsets": (
        RADL,
        "s.mp4",
        "-movflags +frag_keyframe+empty_moov+negative_cts_offsets",
    ),
    "after a second video stream": (RADL, "s.mkv", "-map 0:v -map 0:v -disposition:v:0 default"),
    "vvc in a transport stream": (VVC, "s.ts", ""),
    "vvc in matroska": (VVC, "s.mkv", ""),
}


@pytest.mark.parametrize("kind", some_slow(LEADING, "vvc in matroska"))
def test_pictures_before_the_first_packet_s_time_are_kept(
    kind: str, numbered: Make, make: Make, prepared: Callable[[Path], tuple[Source, Path]]
) -> None:
    options, name, writing = LEADING[kind]
    whole = numbered(60, "25", "whole.mp4", options, sound=False)
    cut = make(f"-ss 1.1 -i {whole} -c copy {writing}", name)
    assert leads(cut)
    decoded = make(f"-i {cut} -map 0:v:0 -fps_mode passthrough {X264}", "decoded.mkv")
    numbers = read_numbers(decoded)
    assert numbers == list(range(numbers[0], 60))
    assert read_numbers(prepared(cut)[1]) == numbers
