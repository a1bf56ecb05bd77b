"""How much sound a decoder must read before what it decodes right."""

from fractions import Fraction

_PACKETS = 2  # transforms overlap by one packet, and another may begin before the wanted time
# MP3 refers to up to 511 bytes before a packet, which are many packets at a low bit rate; Opus
# converges in 80 ms (RFC 7845, 4.6).
_FIXED_S = {codec: Fraction(1, 4) for codec in ("mp3", "mp3float", "opus", "libopus")}


def preroll_s(codec: str, packet_s: Fraction) -> Fraction:
    """Return the pre-roll of a codec whose packets last this long."""
    if codec.startswith("pcm_"):
        return Fraction(0)
    return max(_FIXED_S.get(codec, Fraction(0)), _PACKETS * packet_s)
