"""H.264 and HEVC whose pictures tell themselves how they are to be turned (an SEI message)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from idrl_testing.numbered import picture

Make = Callable[..., Path]
# Degrees anticlockwise, of each group of pictures.
Turns = Sequence[int]
Declared = Sequence[int | None]  # None: without a message

GROUP = 10  # pictures
SIZE = (320, 180)
ENCODERS = {
    "h264": f"-c:v libx264 -preset ultrafast -crf 10 -g {GROUP}",
    "hevc": "-c:v libx265 -preset ultrafast"
    f" -x265-params log-level=none:crf=10:keyint={GROUP}:min-keyint={GROUP}:open-gop=0",
}


def message(codec: str, degrees: int) -> bytes:
    """Return a unit with the message (ITU-T H.264, D.1.27; H.265, D.2.17), after its length."""
    turned = f"000{degrees * 65536 // 360:016b}"
    # H.264: it holds until the next message. HEVC: it holds for the sequence.
    bits = turned + ("01001" if codec == "h264" else "11000")
    payload = int(bits, 2).to_bytes(3)
    unit = (b"\x06" if codec == "h264" else b"\x4e\x01") + bytes([47, len(payload)]) + payload
    return (len(unit) + 1).to_bytes(4) + unit + b"\x80"


def with_messages(path: Path, codec: str, declared: Declared, to: Path) -> Path:
    """Copy a file, with a message before each group's first picture."""
    with av.open(str(path)) as source, av.open(str(to), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        number = 0
        for packet in source.demux(video=0):
            if not packet.size:
                continue
            copied = av.Packet(bytes(packet))
            if packet.is_keyframe:
                degrees, number = declared[number], number + 1
                copied = av.Packet(
                    bytes(packet) if degrees is None else message(codec, degrees) + bytes(packet)
                )
            copied.stream, copied.time_base = stream, packet.time_base
            copied.pts, copied.dts = packet.pts, packet.dts
            copied.duration, copied.is_keyframe = packet.duration, packet.is_keyframe
            target.mux(copied)
        assert number == len(declared)
    return to


def stored(number: int, degrees: int) -> bytes:
    """Return a picture that shows its number once it is turned by these degrees."""
    width, height = SIZE if degrees % 180 == 0 else SIZE[::-1]
    return bytes(np.rot90(picture(number, width, height), -degrees // 90).tobytes())


CASES: dict[str, tuple[str, str, Turns, Declared]] = {
    "upside down from the second second": ("h264", "mkv", (0, 180, 180), (None, 180, 180)),
    "as a transport stream": ("h264", "ts", (0, 180, 180), (None, 180, 180)),
    "upright from then on": ("h264", "mp4", (180, 0, 0), (180, 0, 0)),
    "declared once": ("h264", "mp4", (180, 180, 180), (180, None, None)),
    "a phone that is turned": ("h264", "mkv", (0, 90, 0), (0, 90, 0)),
    "hevc": ("hevc", "mkv", (0, 180, 270), (None, 180, 270)),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_picture_is_turned_as_declared(
    kind: str,
    make: Make,
    render_all: Callable[..., list[object]],
    joined_numbers: Callable[[list[object]], list[int]],
    tmp_path: Path,
) -> None:
    codec, suffix, degrees, declared = CASES[kind]
    count = GROUP * len(degrees)
    raw = b"".join(stored(number, degrees[number // GROUP]) for number in range(count))
    read = f"-f rawvideo -pix_fmt gray -s {SIZE[0]}x{SIZE[1]} -framerate {GROUP} -i pipe:0"
    plain = make(f"{read} -pix_fmt yuv420p {ENCODERS[codec]}", "s.mkv", stdin=raw)
    path = with_messages(plain, codec, declared, tmp_path / "turned.mkv")
    if suffix != "mkv":
        path = make(f"-i {path} -c copy", f"turned.{suffix}")
    assert joined_numbers(render_all(path, part_s=2)) == list(range(count))
