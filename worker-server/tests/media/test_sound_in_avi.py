"""AVI stores no time stamps of sound: libavformat counts packets or bytes, by its header."""

from collections.abc import Callable
from pathlib import Path

import pytest
from media_testing import click_times, read_numbers, some_slow

from worker_server.media import Source

CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*1000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=4"
SOUNDS = {
    "dts": "-c:a dca -strict -2 -ac 2",
    "eac3": "-c:a eac3",
    "g726": "-c:a g726 -ar 8000 -ac 1 -b:a 32k",
    "g722": "-c:a g722 -ar 16000 -ac 1",
    "amr": "-c:a libopencore_amrnb -ar 8000 -ac 1",
    "ac3": "-c:a ac3",
    "mp3": "-c:a libmp3lame",
    "pcm": "-c:a pcm_s16le",
}


@pytest.mark.parametrize("kind", some_slow(SOUNDS, "g722", "amr", "mp3", "pcm"))
def test_sound_is_as_long_as_its_packets(
    kind: str,
    numbered: Callable[..., Path],
    make: Callable[..., Path],
    prepared: Callable[[Path], tuple[Source, Path]],
) -> None:
    """Of sound that it calls constant, ffmpeg's muxer writes a rate of frames and counts bytes."""
    picture = numbered(100, "25", "picture.avi", "-c:v mjpeg -q:v 3", sound=False)
    streams = f"-i {picture} {CLICKS} -map 0 -map 1 -c:v copy {SOUNDS[kind]}"
    source, path = prepared(make(streams, "s.avi"))
    assert source.frame_count == pytest.approx(100, abs=4)
    assert read_numbers(path)[:100] == list(range(100))
    assert click_times(path) == pytest.approx([0.1, 1.1, 2.1, 3.1], abs=0.04)
