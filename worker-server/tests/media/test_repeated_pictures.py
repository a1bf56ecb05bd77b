"""Theora repeats a picture by an empty packet, as encoders do where the bit rate does not do."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from worker_server.media import probe

NOISE = "-f lavfi -i testsrc2=s=320x240:r=25:d=4,noise=alls=60:allf=t"
TONE = "-f lavfi -i sine=d=4 -c:a libvorbis"


@pytest.mark.parametrize("rate", ["40k", "90k"])
@pytest.mark.parametrize("sound", ["", TONE])
def test_empty_packets_of_theora_repeat_the_picture(
    rate: str, sound: str, make: Callable[..., Path], render_all: Callable[..., list[Any]]
) -> None:
    path = make(f"{NOISE} {sound} -c:v libtheora -b:v {rate}", "s.ogv")
    with av.open(str(path)) as container:
        full = [packet.size > 0 for packet in container.demux(video=0) if packet.pts is not None]
    assert full.count(False) > len(full) / 2
    source = probe(path)
    last = len(full) - full[::-1].index(True)
    assert source.frame_rate == Fraction(25)
    assert source.frame_count == (100 if sound else last)
    assert sum(clip.edit.part.frame_count for clip in render_all(path, 20)) == source.frame_count
