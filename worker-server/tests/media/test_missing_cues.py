"""Matroska without Cues, as browsers record it, is not read from its start for each part."""

from collections.abc import Callable
from pathlib import Path

import pytest
from media_testing import click_times, read_numbers

from worker_server.media import Preparation, Source, plan_parts, probe
from worker_server.media.model.containers import open_source

Make = Callable[..., Path]
MiB = 1 << 20
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=8"


def bytes_read() -> int:
    """Return how many bytes this process has read from files."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


@pytest.fixture(scope="module")
def recording(numbered: Make, make: Make) -> Callable[[str], Path]:
    """Make a file of more than 32 MiB."""

    def run(options: str) -> Path:
        size = (640, 360)
        picture = numbered(200, "25", "p.mkv", "-c:v rawvideo", size=size, sound=False)
        streams = f"-i {picture} {CLICKS} -map 0 -map 1 -c:v copy -c:a libopus"
        return make(f"{streams} {options}", "s.mkv")

    return run


def test_long_recording_gets_an_index(
    recording: Callable[[str], Path], prepared: Callable[[Path], tuple[Source, Path]]
) -> None:
    path = recording("-live 1")
    assert probe(path).preparation is Preparation.REMUX
    source, prepared_path = prepared(path)
    assert source.preparation is Preparation.NONE
    last = plan_parts(source, 1)[-1]
    with open_source(prepared_path, source.demuxer) as container:
        before = bytes_read()
        container.seek(int(last.start_s * 1_000_000))
        next(container.demux(video=0))
        assert bytes_read() - before < 8 * MiB
    assert read_numbers(prepared_path) == list(range(200))
    moments = [second + 0.1 for second in range(8)]
    assert click_times(prepared_path) == pytest.approx(moments, abs=0.01)


@pytest.mark.parametrize("options", ["", "-cues_to_front 1 -reserve_index_space 50000"])
def test_recording_with_an_index_is_taken_as_it_is(
    options: str, recording: Callable[[str], Path]
) -> None:
    path = recording(options)
    assert path.stat().st_size > 32 * MiB
    assert probe(path).preparation is Preparation.NONE


def test_short_recording_is_taken_as_it_is(numbered: Make) -> None:
    options = "-c:v libvpx -deadline realtime -b:v 1M -c:a libopus -live 1"
    assert probe(numbered(50, "25", "s.webm", options)).preparation is Preparation.NONE
