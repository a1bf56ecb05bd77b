"""Ogg files that were put together: each link is shown in full, with its own sound."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from media_testing import click_times, level, read_numbers

from worker_server.media import Source, probe
from worker_server.media.model.ogg_chain import Link, links_of

Make = Callable[..., Path]
Numbered = Callable[..., Path]
Prepared = Callable[[Path], tuple[Source, Path]]

THEORA = "-c:v libtheora -q:v 9 -g 10"
CLICKS = "-f lavfi -i aevalsrc=exprs='0.9*sin(2*PI*3000*t)*lt(mod(t+0.9\\,1)\\,0.02)':s=48000:d=2"


@pytest.fixture
def link(make: Make, numbered: Numbered) -> Callable[..., bytes]:
    """Make an Ogg of two seconds, with clicks at 0.1 and 1.1 s."""

    def run(
        first: int, sound: str, size: tuple[int, int] = (320, 180), video: str = THEORA
    ) -> bytes:
        picture = numbered(50, "25", "p.mkv", "-crf 4", first=first, size=size, sound=False)
        streams = f"-i {picture} {CLICKS} -map 0:v -map 1:a" if sound else f"-i {picture}"
        return make(f"{streams} {video} {sound}", "link.ogv").read_bytes()

    return run


def joined(folder: Path, *links: bytes) -> Path:
    path = folder / "joined.ogv"
    path.write_bytes(b"".join(links))
    return path


def ogm_page(flags: int, number: int, body: bytes) -> bytes:
    """Return a page of one packet (RFC 3533, 6)."""
    granule, serial, segments = max(0, number - 1), 77, 1
    fields = (b"OggS", 0, flags, granule, serial, number, 0, segments, len(body))
    page = bytearray(struct.pack("<4sBBqIIIBB", *fields) + body)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    page[22:26] = checksum.to_bytes(4, "little")
    return bytes(page)


def ogm_of_unknown_codec(kind: bytes, codec: bytes) -> list[bytes]:
    """Return the pages of one second of picture or sound for which there is no decoder."""
    frame = struct.pack("<iqqiiiii", 0, 400_000, 1, 0, 0, 24, 320, 180)
    first = ogm_page(2, 0, b"\1" + kind + bytes(3) + codec + frame)
    data = [ogm_page(4 * (number == 26), number, b"\x08data") for number in range(2, 27)]
    return [first, ogm_page(0, 1, b"\3comment" + bytes(8)), *data]


@pytest.mark.parametrize("sound", ["-c:a libvorbis", "-c:a libopus", "-c:a flac"])
def test_all_links_follow_each_other(
    sound: str, link: Callable[..., bytes], prepared: Prepared, tmp_path: Path
) -> None:
    path = joined(tmp_path, *(link(50 * number, sound) for number in range(3)))
    source, prepared_path = prepared(path)
    assert (source.frame_rate, source.frame_count) == (25, 150)
    assert read_numbers(prepared_path) == list(range(150))
    expected = [second + 0.1 for second in range(6)]
    assert click_times(prepared_path) == pytest.approx(expected, abs=0.004)


def test_picture_of_another_size_is_shown_whole(
    link: Callable[..., bytes], prepared: Prepared, tmp_path: Path
) -> None:
    sound = "-c:a libvorbis"
    path = joined(tmp_path, link(0, sound, (256, 192)), link(50, sound), link(100, sound))
    source, prepared_path = prepared(path)
    assert (source.width, source.height) == (320, 180)
    assert read_numbers(prepared_path) == list(range(150))
    expected = [second + 0.1 for second in range(6)]
    assert click_times(prepared_path) == pytest.approx(expected, abs=0.004)


def test_sound_of_another_format_or_none(
    link: Callable[..., bytes], prepared: Prepared, tmp_path: Path
) -> None:
    sounds = ("-c:a libvorbis -ac 2", "", "-c:a libvorbis -ac 1 -ar 44100", "-c:a libopus")
    path = joined(tmp_path, *(link(50 * number, sound) for number, sound in enumerate(sounds)))
    _, prepared_path = prepared(path)
    assert read_numbers(prepared_path) == list(range(200))
    expected = [second + 0.1 for second in (0, 1, 4, 5, 6, 7)]
    assert click_times(prepared_path) == pytest.approx(expected, abs=0.004)
    assert level(prepared_path, 2.1, 3.9) == pytest.approx((0, 0), abs=0.001)


def test_a_last_link_that_is_cut_off_is_shown_as_far_as_it_goes(
    link: Callable[..., bytes], prepared: Prepared, tmp_path: Path
) -> None:
    whole, last = link(0, "-c:a libvorbis"), link(50, "-c:a libvorbis")
    numbers = read_numbers(prepared(joined(tmp_path, whole, last[: len(last) // 2]))[1])
    assert numbers == list(range(len(numbers)))
    assert 60 < len(numbers) < 100


@pytest.mark.parametrize("rest", [40, 300, 3000])
def test_a_link_without_all_of_its_headers_is_left_out(
    rest: int, link: Callable[..., bytes], prepared: Prepared, tmp_path: Path
) -> None:
    whole = link(0, "-c:a libvorbis")
    _, prepared_path = prepared(joined(tmp_path, whole, whole[:rest]))
    assert read_numbers(prepared_path) == list(range(50))


def test_a_link_whose_picture_has_no_decoder_is_left_out(
    link: Callable[..., bytes], prepared: Prepared, tmp_path: Path
) -> None:
    unknown = b"".join(ogm_of_unknown_codec(b"video", b"ZZQQ"))
    path = joined(tmp_path, link(0, ""), unknown, link(50, ""))
    assert read_numbers(prepared(path)[1]) == list(range(100))


def test_sound_is_left_out_where_the_first_link_has_no_decoder_for_its_own(
    link: Callable[..., bytes], prepared: Prepared, tmp_path: Path
) -> None:
    silent = link(0, "")
    first_page_end = silent.index(b"OggS", 1)
    first, *others = ogm_of_unknown_codec(b"audio", b"7777")
    unheard = silent[:first_page_end] + first + b"".join(others) + silent[first_page_end:]
    source, prepared_path = prepared(joined(tmp_path, unheard, link(50, "-c:a libvorbis")))
    assert not source.has_audio
    assert read_numbers(prepared_path) == list(range(100))


def test_links_begin_at_first_pages_with_a_right_checksum(
    link: Callable[..., bytes], tmp_path: Path
) -> None:
    piece = link(0, "-c:a libvorbis")
    size = len(piece)
    path = joined(tmp_path, piece, b"OggS\0\2" + bytes(60_000), piece, piece)
    assert links_of(path) == [
        Link(0, size + 60_006),
        Link(size + 60_006, 2 * size + 60_006),
        Link(2 * size + 60_006, 3 * size + 60_006),
    ]
    assert links_of(joined(tmp_path, piece)) == [Link(0, size)]


def test_limits_count_all_links(link: Callable[..., bytes], tmp_path: Path) -> None:
    piece = link(0, "")
    assert probe(joined(tmp_path, *[piece] * 5)).duration_s == 10
