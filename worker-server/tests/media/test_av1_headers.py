"""AV1 whose frames have a size of their own is normalized before parts are cut."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from worker_server.media import Preparation, probe
from worker_server.media.probing.av1_headers import sequence_header, sizes_between_key_frames

Make = Callable[..., Path]
PICTURE = "-f lavfi -i testsrc2=s=320x180:r=25:d=1"
AOM = "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 100"
# Each moves the flag of the size to another bit.
PLAIN = {
    "realtime": f"{AOM}",
    "good": "-c:v libaom-av1 -cpu-used 8 -lag-in-frames 10 -g 12",
    "screen content": f"{AOM} -aom-params tune-content=screen",
    "error resilient": f"{AOM} -error-resilience default",
    "two tiles, ten bits": f"{AOM} -tile-columns 1 -pix_fmt yuv420p10le",
    "SVT": "-c:v libsvtav1 -preset 12",
}


def sizes(path: Path) -> set[tuple[int, int]]:
    """Return the sizes that the decoder sees."""
    with av.open(str(path)) as container:
        return {(frame.width, frame.height) for frame in container.decode(video=0)}


def overriding_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    header = sequence_header(packets[0])
    assert header
    return sum(sizes_between_key_frames(packet, header) == [(320, 180)] for packet in packets)


@pytest.mark.parametrize("container", ["mkv", "mp4", "ivf"])
@pytest.mark.parametrize("keys", [10, 100])
def test_frames_of_another_size_are_found(keys: int, container: str, make: Make) -> None:
    options = f"-g {keys} -aom-params resize-mode=2"
    path = make(f"{PICTURE} {AOM} {options}", f"resized.{container}")
    assert overriding_frames(path) > 12
    assert any(size != (320, 180) for size in sizes(path))
    if container != "ivf":
        source = probe(path)
        assert source.preparation is Preparation.NORMALIZE
        assert (source.width, source.height) == (320, 180)  # the first picture may be smaller


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN.keys())
def test_frames_of_one_size_are_left_as_they_are(options: str, make: Make) -> None:
    path = make(f"{PICTURE} {options}", "plain.mkv")
    assert sizes(path) == {(320, 180)}
    assert overriding_frames(path) == 0
    assert probe(path).preparation is Preparation.NONE


def test_junk_has_no_frames_of_another_size() -> None:
    assert not sizes_between_key_frames(b"", b"")
    assert not sizes_between_key_frames(b"\x32", b"\x00")
    assert sequence_header(b"\x0a") == b""
    assert not sizes_between_key_frames(bytes(range(256)) * 40, b"")
