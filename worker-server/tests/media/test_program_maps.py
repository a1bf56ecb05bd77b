"""Program maps of MPEG-TS as channels have them: long ones, and with streams of private data."""

import os
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from media_testing import click_times, read_numbers, refused

from worker_server.media import Source, probe

Make = Callable[..., Path]

PACKET, PAYLOAD = 188, 184
X264 = "-c:v libx264 -preset ultrafast -crf 10"
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=2"
MAP_PIDS = (0x1000, 0x1001)  # of ffmpeg's muxer


def checksum(section: bytes) -> bytes:
    """Return the CRC of ISO/IEC 13818-1, annex A."""
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc.to_bytes(4)


def lengthened(packet: bytes) -> bytes:
    """Return the map's section with 240 bytes of private descriptors of the program."""
    length = int.from_bytes(packet[6:8]) & 0xFFF
    section = packet[5 : 8 + length - 4]
    described = int.from_bytes(section[10:12]) & 0xFFF
    private = (b"\x80\x76" + bytes(0x76)) * 2
    fields = section[3:10] + (0xF000 | described + len(private)).to_bytes(2)
    rest = fields + private + section[12:]
    whole = section[:1] + (0xB000 | len(rest) + 4).to_bytes(2) + rest
    return whole + checksum(whole)


def map_packets(packet: bytes, number: int) -> list[bytes]:
    """Return the two packets of the longer map; `number` counts maps of this PID."""
    payload = b"\0" + lengthened(packet)
    assert PAYLOAD < len(payload) <= 2 * PAYLOAD
    return [
        bytes([0x47, packet[1] & 0xBF | start, packet[2], 0x10 | (2 * number + at) & 15])
        + payload[at * PAYLOAD :][:PAYLOAD].ljust(PAYLOAD, b"\xff")
        for at, start in enumerate((0x40, 0))
    ]


def with_long_maps(content: bytes, apart: int) -> bytes:
    """Return the stream with long maps; `apart` other packets are between those of each map."""
    made: list[bytes] = []
    due: list[tuple[int, bytes]] = []  # second packets, and before which packet they come
    seen: Counter[int] = Counter()
    for at in range(0, len(content), PACKET):
        packet = content[at : at + PACKET]
        pid = int.from_bytes(packet[1:3]) & 0x1FFF
        if pid in MAP_PIDS:
            first, second = map_packets(packet, seen[pid])
            seen[pid] += 1
            made.append(first)
            due.append((len(made) + apart, second))
        else:
            made.append(packet)
        while due and due[0][0] <= len(made):
            made.append(due.pop(0)[1])
    return b"".join([*made, *(second for _, second in due)])


@pytest.mark.parametrize("apart", [0, 3])
def test_pieces_with_other_packet_ids_follow_each_other(
    apart: int,
    make: Make,
    numbered: Make,
    prepared: Callable[[Path], tuple[Source, Path]],
    tmp_path: Path,
) -> None:
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:
        for number, pid in enumerate((256, 512)):
            picture = numbered(50, "25", "p.mp4", X264, first=50 * number, sound=False)
            options = f"-map 0:v -map 1:a -c:v copy -c:a aac -mpegts_start_pid {pid}"
            piece = make(f"-i {picture} {CLICKS} {options}", "piece.ts").read_bytes()
            file.write(with_long_maps(piece, apart))
    source, path = prepared(joined)
    assert (source.frame_rate, source.frame_count) == (25, 100)
    assert read_numbers(path) == list(range(100))
    assert click_times(path) == pytest.approx([0.1, 1.1, 2.1, 3.1], abs=0.03)


def test_sound_of_another_program_is_not_taken(numbered: Make, make: Make, tmp_path: Path) -> None:
    film = numbered(50, "25", "film.mp4", X264)
    tone = "-f lavfi -i sine=f=300:d=2"
    programs = "-program title=any:st=0 -program title=any:st=1:st=2"
    order = f"-map 1:a -map 0:v -map 0:a -c:v copy -c:a mp2 {programs}"
    mux = make(f"-i {film} {tone} {order}", "mux.ts").read_bytes()
    path = tmp_path / "mux.ts"
    path.write_bytes(with_long_maps(mux, apart=0))
    assert probe(path).audio_index == 2


def scrambled(content: bytes, pids: Collection[int]) -> bytes:
    """Return the stream with the packets of these PIDs scrambled (ISO/IEC 13818-1, 2.4.3.3)."""
    changed = bytearray(content)
    for at in range(0, len(changed), PACKET):
        flags = changed[at + 3]
        if int.from_bytes(changed[at + 1 : at + 3]) & 0x1FFF in pids and flags & 0x10:
            begin = at + 4 + (1 + changed[at + 4] if flags & 0x20 else 0)
            changed[at + 3] |= 0x80
            changed[begin : at + PACKET] = os.urandom(at + PACKET - begin)
    return bytes(changed)


PROGRAMS = ({256, 257}, {258, 259})  # PIDs of picture and sound


@pytest.mark.parametrize("clear", [0, 1])
def test_clear_program_with_a_scrambled_one(
    clear: int,
    make: Make,
    numbered: Make,
    prepared: Callable[[Path], tuple[Source, Path]],
    tmp_path: Path,
) -> None:
    films = [numbered(50, "25", "film.mp4", X264, first=first) for first in (0, 50)]
    streams = f"-i {films[0]} -i {films[1]} -map 0 -map 1 -c copy"
    programs = "-program title=any:st=0:st=1 -program title=any:st=2:st=3"
    content = make(f"{streams} {programs}", "mux.ts").read_bytes()
    path = tmp_path / "mux.ts"
    path.write_bytes(scrambled(content, PROGRAMS[1 - clear]))
    source, prepared_path = prepared(path)
    assert source.has_audio
    assert read_numbers(prepared_path) == list(range(50 * clear, 50 * clear + 50))


def test_scrambled_sound_of_the_clear_picture(make: Make, numbered: Make, tmp_path: Path) -> None:
    film = numbered(50, "25", "film.mp4", "-c:v libx264 -preset ultrafast -crf 40")
    content = make(f"-i {film} -c:v copy -c:a mp2 -b:a 384k", "s.ts").read_bytes()
    path = tmp_path / "s.ts"
    path.write_bytes(scrambled(content, {257}))
    assert refused(path) == "source_protected"


@pytest.mark.parametrize(
    "second", ["-map 2:a -map 1:a -c:a:0 libopus -c:a:1 ac3", "-map 1:a -c:a ac3"]
)
def test_private_data_continues_by_what_it_is(
    second: str,
    make: Make,
    numbered: Make,
    prepared: Callable[[Path], tuple[Source, Path]],
    tmp_path: Path,
) -> None:
    """DVB has teletext, subtitles and sound of several codecs in streams of one type."""
    silence = "-f lavfi -i anullsrc=r=48000:d=2"
    first = "-map 1:a -map 2:a -c:a:0 ac3 -c:a:1 libopus"
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:
        for number, sounds in enumerate((first, second)):
            picture = numbered(50, "25", "p.mp4", X264, first=50 * number, sound=False)
            options = f"-mpegts_flags system_b -mpegts_start_pid {(256, 512)[number]}"
            streams = f"-i {picture} {CLICKS} {silence} -map 0:v {sounds} -c:v copy"
            file.write(make(f"{streams} {options}", "piece.ts").read_bytes())
    _, path = prepared(joined)
    assert read_numbers(path) == list(range(100))
    assert click_times(path) == pytest.approx([0.1, 1.1, 2.1, 3.1], abs=0.03)
