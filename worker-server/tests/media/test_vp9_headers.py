"""Sizes in the headers of VP9's frames: of key frames, intra-only frames and inter frames."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from worker_server.media import Preparation, probe
from worker_server.media.probing.vp9_headers import key_frame_headers, sizes_between_key_frames

SYNC = f"{0x498342:024b}"
# Of each profile: its bits, and depth, colour space, range, subsampling of a key frame.
PROFILES = {
    0: ("00", "0100"),
    1: ("10", "0100000"),
    2: ("01", "00100"),
    3: ("110", "00100000"),
}
each_profile = pytest.mark.parametrize("profile", PROFILES)


def packed(bits: str) -> bytes:
    return int(bits.ljust(160, "0"), 2).to_bytes(20)


def size(width: int, height: int) -> str:
    return f"{width - 1:016b}{height - 1:016b}"


def key_frame(profile: int, width: int, height: int) -> bytes:
    number, colours = PROFILES[profile]
    return packed(f"10{number}0010{SYNC}{colours}{size(width, height)}")


def intra_only(profile: int, width: int, height: int, resilient: int = 0) -> bytes:
    number, colours = PROFILES[profile]
    start = f"10{number}010{resilient}1" + ("" if resilient else "11")
    return packed(f"{start}{SYNC}{colours if profile else ''}00000001{size(width, height)}")


def inter_frame(found_ref: str, width: int = 640, height: int = 360) -> bytes:
    return packed(f"1000011000{'0' * 8}{'0' * 12}{found_ref}{size(width, height)}")


def superframe(*frames: bytes) -> bytes:
    marker = bytes([0b11000000 | len(frames) - 1])
    return b"".join(frames) + marker + bytes(len(each) for each in frames) + marker


@each_profile
@pytest.mark.parametrize("resilient", [0, 1])
def test_intra_only_frame_may_have_another_size(profile: int, resilient: int) -> None:
    headers = key_frame_headers(key_frame(profile, 320, 180))
    assert sizes_between_key_frames(intra_only(profile, 640, 360, resilient), headers)
    assert sizes_between_key_frames(intra_only(profile, 320, 181, resilient), headers)
    assert not sizes_between_key_frames(intra_only(profile, 320, 180, resilient), headers)


@each_profile
def test_each_bit_of_a_key_frames_size_counts(profile: int) -> None:
    headers = key_frame_headers(key_frame(profile, 321, 185))
    assert headers
    for other in ((322, 185), (321, 186), (321, 187), (321, 189)):
        assert key_frame_headers(key_frame(profile, *other)) != headers
    assert not key_frame_headers(intra_only(profile, 321, 185))


def test_inter_frame_has_a_size_of_its_own_or_that_of_a_reference() -> None:
    headers = key_frame_headers(key_frame(0, 320, 180))
    assert sizes_between_key_frames(inter_frame("000"), headers)
    assert not any(sizes_between_key_frames(inter_frame(each), headers) for each in ("1", "01"))


def test_each_frame_of_a_superframe_counts() -> None:
    headers = key_frame_headers(key_frame(0, 320, 180))
    plain = inter_frame("1")
    assert sizes_between_key_frames(superframe(plain, inter_frame("000")), headers)
    assert sizes_between_key_frames(superframe(plain, intra_only(0, 640, 360)), headers)
    assert not sizes_between_key_frames(superframe(plain, plain), headers)
    assert not sizes_between_key_frames(b"", headers)
    assert not sizes_between_key_frames(plain[:-1] + b"\xdf", headers)


@pytest.mark.parametrize(
    ("size", "expected", "shown_as"),
    [
        ((320, 180), "none", (320, 180)),
        ((640, 360), "normalize", (640, 360)),  # a call's encoder begins small
        ((160, 90), "normalize", (320, 180)),
        ((640, 640), "normalize", (320, 180)),  # as of a damaged packet
        ((16000, 9000), "normalize", (320, 180)),
    ],
)
def test_source_is_normalized_where_an_intra_only_frame_has_another_size(
    size: tuple[int, int],
    expected: str,
    shown_as: tuple[int, int],
    make: Callable[..., Path],
    tmp_path: Path,
) -> None:
    options = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -auto-alt-ref 0"
    plain = make(f"-f lavfi -i testsrc2=s=320x180:r=25:d=1 {options}", "plain.webm")
    hidden, shown = intra_only(0, *size), b"\x88"  # show_existing_frame
    changed = tmp_path / "changed.mkv"
    with av.open(str(plain)) as source, av.open(str(changed), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(each for each in source.demux(video=0) if each.size):
            copy = av.Packet(superframe(hidden, shown) if number == 20 else bytes(packet))
            copy.stream, copy.time_base = stream, Fraction(1, 25)
            copy.pts = copy.dts = number
            copy.is_keyframe = packet.is_keyframe
            target.mux(copy)
    facts = probe(changed)
    assert facts.preparation is Preparation(expected)
    assert (facts.width, facts.height) == shown_as
