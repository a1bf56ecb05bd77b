"""Encrypted sources are refused as such, also where the encryption begins after a clear start."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from mp4_testing import box

from worker_server.media import SourceError, probe

Make = Callable[..., Path]

PICTURE = "-f lavfi -i testsrc2=s=160x90:r=25:d={seconds}"
SOUND = "-f lavfi -i sine=d={seconds}"
X264 = "-c:v libx264 -preset ultrafast -crf 10 -g 25"
FRAGMENTS = "-movflags +frag_keyframe+empty_moov+default_base_moof"
KEY, KEY_ID = "76a6c65c5ea762046bd749a2e632ccbb", "a7e61c373e219033c21091fa607bf3b8"
CENC = f"-encryption_scheme cenc-aes-ctr -encryption_key {KEY} -encryption_kid {KEY_ID}"
FOUR_SECONDS = f"{PICTURE.format(seconds=4)} {SOUND.format(seconds=4)} {X264} -c:a aac"


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        probe(path)
    return caught.value.code


def test_scrambled_after_a_clear_start(make: Make, tmp_path: Path) -> None:
    arguments = f"{PICTURE.format(seconds=8)} {SOUND.format(seconds=8)} {X264} -c:a aac"
    content = bytearray(make(arguments, "s.ts").read_bytes())
    for at in range(len(content) // 2 // 188 * 188, len(content), 188):
        if (content[at + 1] & 0x1F) << 8 | content[at + 2] >= 256:
            content[at + 3] |= 0x80
            content[at + 20 : at + 188] = os.urandom(168)
    path = tmp_path / "scrambled.ts"
    path.write_bytes(content)
    assert refusal(path) == "source_protected"


def boxes(path: Path, *kinds: bytes) -> bytes:
    """Return the boxes of these kinds at the top level of an MP4."""

    def matches() -> Iterator[bytes]:
        content, at = path.read_bytes(), 0
        while at < len(content):
            size, kind = struct.unpack_from(">I4s", content, at)
            if kind in kinds:
                yield content[at : at + size]
            at += size

    return b"".join(matches())


@pytest.fixture(scope="module")
def clear(make: Make) -> Path:
    return make(f"{FOUR_SECONDS} {FRAGMENTS}", "clear.mp4")


@pytest.fixture(scope="module")
def encrypted(make: Make) -> Path:
    return make(f"{FOUR_SECONDS} -output_ts_offset 4 {CENC} {FRAGMENTS}", "encrypted.mp4")


HEADS = (b"ftyp", b"moov")
FRAGMENT = (b"moof", b"mdat")


def test_encrypted_fragments_after_the_index_of_clear_ones(
    clear: Path, encrypted: Path, tmp_path: Path
) -> None:
    path = tmp_path / "joined.mp4"
    path.write_bytes(boxes(clear, *HEADS, *FRAGMENT) + boxes(encrypted, *FRAGMENT))
    assert refusal(path) == "source_protected"


def test_clear_fragments_after_the_index_of_encrypted_ones(
    clear: Path, encrypted: Path, tmp_path: Path
) -> None:
    path = tmp_path / "joined.mp4"
    path.write_bytes(
        boxes(encrypted, *HEADS) + boxes(clear, *FRAGMENT) + boxes(encrypted, *FRAGMENT)
    )
    assert refusal(path) == "source_protected"


def test_encrypted_file_appended_to_a_clear_one(
    clear: Path, encrypted: Path, tmp_path: Path
) -> None:
    path = tmp_path / "joined.mp4"
    path.write_bytes(clear.read_bytes() + encrypted.read_bytes())
    assert refusal(path) == "source_protected"


def test_an_encrypted_file_with_an_index(make: Make) -> None:
    assert refusal(make(f"{FOUR_SECONDS} {CENC}", "s.mp4")) == "source_protected"


def test_clear_fragments_are_accepted(clear: Path) -> None:
    assert probe(clear).frame_count == 100


def element(name: str, content: bytes) -> bytes:
    """Return an EBML element of less than 127 bytes (RFC 8794, 4)."""
    return bytes.fromhex(name) + bytes([0x80 | len(content)]) + content


def test_a_matroska_track_that_announces_encryption(make: Make, tmp_path: Path) -> None:
    title = element("536E", b"A" * 40)
    whole = make(
        f"{PICTURE.format(seconds=2)} {X264} -metadata:s:v:0 title={'A' * 40}", "s.mkv"
    ).read_bytes()
    assert whole.count(title) == 1
    # ContentEncodings (RFC 9559, 5.1.4.1.31) takes the place of the title; Void fills the rest.
    algorithm, key_id = element("47E1", b"\x05"), element("47E2", bytes.fromhex(KEY_ID))
    encoding = element("5033", b"\x01") + element("5035", algorithm + key_id)
    only = element("6240", encoding)
    encodings = element("6D80", only + element("EC", bytes(40 - len(only) - 2)))
    path = tmp_path / "encrypted.mkv"
    path.write_bytes(whole.replace(title, encodings))
    assert refusal(path) == "source_protected"


SAMPLE_ENCRYPTION = bytes.fromhex("A2394F525A9B4F14A2446C427C648DF4")
TRACK_ENCRYPTION = bytes.fromhex("8974DBCE7BE74C5184F97148F9882554")
PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"sinf")


def rewritten(content: bytes, change: Callable[[bytes, bytes], bytes | None]) -> bytes:
    """Return boxes with those replaced for which `change` returns something; offsets stay."""
    result, at = b"", 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        inside = content[at + 8 : at + size]
        if (replacement := change(kind, inside)) is not None:
            result += replacement
        elif kind == b"stsd":
            entry = rewritten(inside[8:], change)
            result += box(kind, inside[:8] + entry)
        elif kind in (b"encv", b"enca"):
            fixed = 78 if kind == b"encv" else 28  # ISO/IEC 14496-12, 12.1.3 and 12.2.3
            result += box(kind, inside[:fixed] + rewritten(inside[fixed:], change))
        else:
            result += box(kind, rewritten(inside, change) if kind in PARENTS else inside)
        at += size
    return result


def smooth_streaming(kind: bytes, content: bytes) -> bytes | None:
    """Write encryption as the Protected Interoperable File Format does, in `uuid` boxes."""
    if kind == b"senc":
        return box(b"uuid", SAMPLE_ENCRYPTION + content)
    if kind in (b"saiz", b"saio"):
        return b""
    if kind == b"schm":
        return box(kind, content[:4] + b"piff" + bytes.fromhex("00010001"))
    if kind == b"schi":
        return box(kind, box(b"uuid", TRACK_ENCRYPTION + bytes(4) + bytes(20)))
    return None


def test_smooth_streaming_after_the_index_of_clear_fragments(
    clear: Path, encrypted: Path, tmp_path: Path
) -> None:
    path = tmp_path / "joined.mp4"
    locked = rewritten(boxes(encrypted, *FRAGMENT), smooth_streaming)
    assert SAMPLE_ENCRYPTION in locked
    path.write_bytes(boxes(clear, *HEADS, *FRAGMENT) + locked)
    assert refusal(path) == "source_protected"


def test_smooth_streaming_that_only_its_index_announces(
    clear: Path, encrypted: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.ismv"
    head = rewritten(boxes(encrypted, *HEADS), smooth_streaming)
    assert TRACK_ENCRYPTION in head
    path.write_bytes(head + boxes(clear, *FRAGMENT))
    assert refusal(path) == "source_protected"


def test_an_encrypted_description_after_a_clear_one(
    clear: Path, encrypted: Path, tmp_path: Path
) -> None:
    """One track, two sample descriptions: that of the clear start, and that of what follows."""
    descriptions: list[bytes] = []

    def rewrite(kind: bytes, content: bytes) -> bytes | None:
        if kind == b"stsd":
            descriptions.append(content[8:])
        return None

    rewritten(boxes(encrypted, b"moov"), rewrite)

    def add(kind: bytes, content: bytes) -> bytes | None:
        if kind != b"stsd":
            return None
        return box(kind, content[:4] + struct.pack(">I", 2) + content[8:] + descriptions.pop(0))

    path = tmp_path / "both.mp4"
    path.write_bytes(rewritten(boxes(clear, *HEADS), add) + boxes(clear, *FRAGMENT))
    assert not descriptions
    assert refusal(path) == "source_protected"


# Advanced Systems Format, 3.14 and 3.15, and how many pieces of data, each after its length.
ASF_ENCRYPTION = {
    "content": ("FBB31122 23BD D211 B4B700A0C955FC6E", 4),
    "extended": ("14E68A29 2226 174C B935DAE07EE9289C", 1),
}


@pytest.mark.parametrize("kind", ASF_ENCRYPTION)
def test_windows_media_with_a_licence(kind: str, make: Make, tmp_path: Path) -> None:
    content = make(f"{PICTURE.format(seconds=1)} -c:v wmv2", "s.wmv").read_bytes()
    size, count = struct.unpack_from("<QI", content, 16)
    identity, pieces = ASF_ENCRYPTION[kind]
    data = (struct.pack("<I", 4) + b"ABC\0") * pieces
    locked = bytes.fromhex(identity) + struct.pack("<Q", 24 + len(data)) + data
    header = content[:16] + struct.pack("<QI", size + len(locked), count + 1) + content[28:size]
    path = tmp_path / "s.wmv"
    path.write_bytes(header + locked + content[size:])
    assert refusal(path) == "source_protected"


def test_encrypted_fragments_that_libavformat_cannot_open(encrypted: Path, tmp_path: Path) -> None:
    """It refuses a count of encrypted ranges that exceeds the sample's initialization vector."""

    def corrupt(kind: bytes, content: bytes) -> bytes | None:
        return box(kind, content[:8] + b"\xff" * (len(content) - 8)) if kind == b"senc" else None

    path = tmp_path / "s.mp4"
    path.write_bytes(boxes(encrypted, *HEADS) + rewritten(boxes(encrypted, *FRAGMENT), corrupt))
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(path))
    assert refusal(path) == "source_protected"
