"""Reads the uncompressed headers of VP9's frames (VP9 bitstream specification, 6.2 and annex B)."""

from collections.abc import Iterator

from worker_server.media.probing.bits import Bits

_HEAD_BYTES = 16  # the longest header up to the frame size has 107 bits
_SYNC_CODE = 0x498342
_RGB = 7  # color_space


def key_frame_headers(packet: bytes) -> bytes:
    """Return a key frame's profile, colours and, in the last four bytes, size; else nothing."""
    bits = Bits(packet[:_HEAD_BYTES])
    profile = _profile(bits)
    if bits.read(1) or bits.read(1):  # show_existing_frame, frame_type
        return b""
    bits.read(2)  # show_frame, error_resilient_mode
    if bits.read(24) != _SYNC_CODE:
        return b""
    return bytes([profile]) + _colours(bits, profile) + _size(bits)


def sizes_between_key_frames(packet: bytes | memoryview, headers: bytes) -> list[tuple[int, int]]:
    """Return the sizes that frames of the packet have of their own: width and height in pixels.

    `headers` are those of the last key frame. A packet may be a superframe, of hidden frames and
    one that is shown. Frames of the key frame's size, or of a reference's, have none of their own.
    """
    sizes = (_own_size(Bits(frame), headers[-4:]) for frame in _frames_of(packet))
    return [(int.from_bytes(size[:2]) + 1, int.from_bytes(size[2:]) + 1) for size in sizes if size]


def shows_picture(packet: bytes | memoryview) -> bool:
    """Return whether a frame of the packet is shown; one that is hidden may be shown later."""
    return any(_is_shown(Bits(frame)) for frame in _frames_of(packet))


def _is_shown(bits: Bits) -> bool:
    _profile(bits)
    if bits.read(1):  # show_existing_frame
        return True
    bits.read(1)  # frame_type
    return bool(bits.read(1))  # show_frame


def _own_size(bits: Bits, key_size: bytes) -> bytes:
    """Return the size that an inter frame states, or an intra-only one if it is another."""
    profile = _profile(bits)
    if bits.read(1) or not bits.read(1):  # show_existing_frame; a key frame
        return b""
    shown, resilient = bits.read(1), bits.read(1)
    intra_only = 0 if shown else bits.read(1)
    bits.read(0 if resilient else 2)  # reset_frame_context
    if not intra_only:
        bits.read(8 + 3 * 4)  # refresh_frame_flags; three references with a sign bit each
        return b"" if any(bits.read(1) for _ in range(3)) else _size(bits)  # found_ref
    if bits.read(24) != _SYNC_CODE:
        return b""
    if profile:
        _colours(bits, profile)
    bits.read(8)  # refresh_frame_flags
    size = _size(bits)
    return size if key_size and size != key_size else b""


def _frames_of(packet: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Yield the beginnings of the frames in a packet, by the index at the end of a superframe."""
    marker = packet[-1] if len(packet) else 0
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = packet[-(2 + count * width) :]
    if marker >> 5 != 0b110 or len(index) < 2 + count * width or index[0] != marker:
        yield packet[:_HEAD_BYTES]
        return
    at = 0
    for number in range(count):
        yield packet[at : at + _HEAD_BYTES]
        at += int.from_bytes(index[1 + number * width : 1 + (number + 1) * width], "little")


def _profile(bits: Bits) -> int:
    bits.read(2)  # frame_marker
    profile = bits.read(1) + 2 * bits.read(1)
    bits.read(1 if profile == 3 else 0)  # reserved
    return profile


def _colours(bits: Bits, profile: int) -> bytes:
    """Return ten or twelve bits, colour space, range and subsampling."""
    twelve = bits.read(1) if profile >= 2 else 0
    space = bits.read(3)
    if space == _RGB:
        bits.read(profile & 1)  # reserved
        return bytes([twelve, space, 1, 0])
    full_range = bits.read(1)
    subsampling = bits.read(3) if profile & 1 else 0  # horizontal, vertical, reserved
    return bytes([twelve, space, full_range, subsampling])


def _size(bits: Bits) -> bytes:
    return bits.read(32).to_bytes(4)  # frame_width_minus_1, frame_height_minus_1
