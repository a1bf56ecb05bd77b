"""A codec that is not on the list is refused before its decoder sees a byte."""

from collections.abc import Callable
from pathlib import Path

import av
import av.logging
import pytest

from worker_server.media import SourceError, probe
from worker_server.media.model.source import ProbeLimits
from worker_server.media.probing.probe_child import read_facts

Make = Callable[..., Path]

PICTURE = "-f lavfi -i testsrc2=s=160x96:r=25:d=1"


@pytest.mark.parametrize(
    ("name", "codec"), [("s.avi", "zmbv"), ("s.mkv", "asv2"), ("s.mov", "hap"), ("s.mov", "r210")]
)
def test_an_unlisted_picture_is_refused(name: str, codec: str, make: Make) -> None:
    with pytest.raises(SourceError) as caught:
        probe(make(f"{PICTURE} -c:v {codec}", name))
    assert caught.value.code == "source_codec_unsupported"


def test_an_unlisted_sound_is_silence(make: Make) -> None:
    sound = "-f lavfi -i sine=r=8000:d=1 -c:a ra_144 -ac 1"
    source = probe(make(f"{PICTURE} {sound} -c:v libx264 -preset ultrafast", "s.mkv"))
    assert not source.has_audio
    assert source.frame_count == 25


@pytest.fixture
def damaged(make: Make) -> Path:
    """A file whose every packet makes its decoder log an error."""
    whole = make(f"{PICTURE} -c:v zmbv", "whole.avi")
    return make(f"-i {whole} -c copy -bsf:v noise=amount=1", "damaged.avi")


def decoder_errors(read: Callable[[], object]) -> list[str]:
    """Return what the decoder writes to ffmpeg's log meanwhile."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as lines:
            read()
    finally:
        av.logging.set_level(before)
    return [line for _, name, line in lines if name == "zmbv"]


def test_the_decoder_never_runs(damaged: Path) -> None:
    def decode() -> None:
        with av.open(str(damaged)) as container, pytest.raises(av.error.FFmpegError):
            list(container.decode(video=0))

    def refuse() -> None:
        with pytest.raises(SourceError):
            read_facts(damaged, "avi", ProbeLimits())

    assert any("not on whitelist" not in line for line in decoder_errors(decode))
    assert all("not on whitelist" in line for line in decoder_errors(refuse))
