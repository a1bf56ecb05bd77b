"""A wrong time stamp on the very first picture moves no other, and no sound."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from media_testing import click_times, read_numbers

from worker_server.media import Source

Make = Callable[..., Path]

HOUR_S = 3600
PTS_CYCLE = 1 << 33  # ISO/IEC 13818-1, 2.4.3.7
PICTURE_PID, PICTURE_STREAM = 256, 0xE0
X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 25"
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=44100:d=3"


def _pts(stamp: int, prefix: int) -> bytes:
    stamp %= PTS_CYCLE
    high, middle, low = stamp >> 30 & 7, stamp >> 15 & 0x7FFF, stamp & 0x7FFF
    return bytes([prefix << 4 | high << 1 | 1]) + struct.pack(">HH", middle << 1 | 1, low << 1 | 1)


def in_presentation(content: bytearray, shift_s: float) -> None:
    """Change the PTS alone."""
    in_transport_stream(content, shift_s, stamps=1)


def in_transport_stream(content: bytearray, shift_s: float, stamps: int = 2) -> None:
    """Change PTS and DTS of the first PES packet of the picture."""
    at = next(
        packet + content[packet:].index(bytes([0, 0, 1, PICTURE_STREAM]))
        for packet in range(0, len(content), 188)
        if content[packet + 1 : packet + 3] == bytes([0x40 | PICTURE_PID >> 8, PICTURE_PID & 255])
    )
    flags = content[at + 7] >> 6
    for number in range(min(stamps, 2 if flags == 3 else 1)):
        place = at + 9 + 5 * number
        a, b, c = struct.unpack_from(">BHH", content, place)
        stamp = (a >> 1 & 7) << 30 | b >> 1 << 15 | c >> 1
        content[place : place + 5] = _pts(stamp + round(shift_s * 90_000), a >> 4)


def in_flash_video(content: bytearray, shift_s: float) -> None:
    """Change the time stamp of the first tag with a picture (Adobe FLV 10.1, E.4.1)."""
    at = 13
    while not (content[at] == 9 and content[at + 12] == 1):  # a picture, no AVC header
        at += 15 + int.from_bytes(content[at + 1 : at + 4])
    stamp = int.from_bytes(bytes([content[at + 7], *content[at + 4 : at + 7]]))
    changed = (stamp + round(shift_s * 1000)).to_bytes(4)
    content[at + 4 : at + 7], content[at + 7] = changed[1:], changed[0]


def in_flash_offset(content: bytearray, shift_s: float) -> None:
    """Change the composition offset of the first picture (E.4.3.1)."""
    at = 13
    while not (content[at] == 9 and content[at + 12] == 1):
        at += 15 + int.from_bytes(content[at + 1 : at + 4])
    content[at + 13 : at + 16] = round(shift_s * 1000).to_bytes(3, signed=True)


def in_matroska(content: bytearray, shift_s: float) -> None:
    """Change the time of the first block in its cluster (RFC 9559, 10.2)."""
    clusters = content.index(bytes.fromhex("1F43B675"))
    block = rb"\xa3(?:[\x80-\xff]|[\x40-\x7f].|[\x20-\x3f]..)\x81"  # a length, and track 1
    block_match = re.search(block, content[clusters:], re.DOTALL)
    assert block_match
    struct.pack_into(">h", content, clusters + block_match.end(), round(shift_s * 1000))


def in_composition_offsets(content: bytearray, shift_s: float) -> None:
    """Change the first composition offset (ISO/IEC 14496-12, 8.6.1.3): an entry for one sample."""
    at = content.index(b"ctts")
    clock = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0]
    content[at + 4] = 1  # signed offsets
    count, offset = struct.unpack_from(">Ii", content, at + 12)
    assert count == 1
    struct.pack_into(">i", content, at + 16, offset + round(shift_s * clock))


WRONG = {
    "transport stream, an hour ahead": ("s.ts", in_transport_stream, HOUR_S),
    "transport stream, before its cycle": ("s.ts", in_transport_stream, -20),
    "transport stream, a minute after its decoding": ("s.ts", in_presentation, 60),
    "flash video, five hours ahead": ("s.flv", in_flash_video, 5 * HOUR_S),
    "flash video, an offset of two hours": ("s.flv", in_flash_offset, 2 * HOUR_S),
    "matroska, half a minute ahead": ("s.mkv", in_matroska, 30),
    "mp4, an hour ahead": ("s.mp4", in_composition_offsets, HOUR_S),
    "mp4, an hour back": ("s.mp4", in_composition_offsets, -HOUR_S),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_first_timestamp_is_corrected(
    kind: str,
    numbered: Make,
    make: Make,
    prepared: Callable[[Path], tuple[Source, Path]],
    tmp_path: Path,
) -> None:
    name, change, shift_s = WRONG[kind]
    picture = numbered(75, "25", "p.mkv", f"{X264} -g 1", sound=False)
    coding = f"{X264} -bf {2 if name == 's.mp4' or change is in_presentation else 0}"
    whole = make(f"-i {picture} {CLICKS} -map 0:v -map 1:a {coding} -c:a aac", name)
    content = bytearray(whole.read_bytes())
    change(content, shift_s)
    path = tmp_path / name
    path.write_bytes(content)
    source, prepared_path = prepared(path)
    numbers = read_numbers(prepared_path)
    # The first may be left out, and nothing else.
    assert numbers in (list(range(75)), list(range(1, 75)))
    assert source.frame_rate == 25
    missing_s = numbers[0] / 25
    moments = [moment - float(source.origin_s) for moment in click_times(prepared_path)]
    assert moments == pytest.approx([n + 0.1 - missing_s for n in range(3)], abs=0.05)


@pytest.mark.parametrize(
    "codecs",
    [
        "-c:v libtheora -q:v 8 -c:a libvorbis",
        "-c:v libtheora -q:v 8 -c:a libopus",
        "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M -c:a libvorbis",
        "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M -c:a flac",
        "-c:v libtheora -q:v 8 -ac 1 -c:a flac",
    ],
)
def test_ogg_copied_from_the_middle_keeps_its_sound(
    codecs: str, numbered: Make, make: Make, prepared: Callable[[Path], tuple[Source, Path]]
) -> None:
    """Pictures from the key frame to the wanted time have negative positions, without a sign."""
    picture = numbered(75, "25", "p.mkv", f"{X264} -g 1", sound=False)
    whole = make(f"-i {picture} {CLICKS} -map 0:v -map 1:a {codecs} -g 25", "whole.ogv")
    _, path = prepared(make(f"-ss 1.3 -i {whole} -c copy", "cut.ogv"))
    assert read_numbers(path) == list(range(25, 75))
    # ffmpeg rounds 1.3 s down to a whole picture, for the picture alone.
    assert click_times(path) == pytest.approx([0.1, 1.1], abs=0.05)
