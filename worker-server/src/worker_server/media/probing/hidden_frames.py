"""Recognizes packets of VP8 and VP9 that show no picture, but only hold reference frames."""

from worker_server.media.probing import vp9_headers

_VP8, _VP9 = {"vp8", "libvpx"}, {"vp9", "libvpx-vp9"}
HIDING_CODECS = _VP8 | _VP9
_VP8_SHOW_FRAME = 0x10  # in the first byte of a frame (RFC 6386, 9.1)


def shows_nothing(codec: str, packet: bytes | memoryview) -> bool:
    """Return whether the packet, which is not empty, has hidden frames alone."""
    if codec in _VP8:
        return not packet[0] & _VP8_SHOW_FRAME
    return codec in _VP9 and not vp9_headers.shows_picture(packet)
