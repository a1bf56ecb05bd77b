"""Finds Dolby Vision whose coded pictures no ordinary decoder shows in their colours."""

from av import VideoFrame
from av.sidedata.sidedata import Type

from worker_server.media.errors import SourceError
from worker_server.media.model.side_data import side_data_of
from worker_server.media.probing.bits import Bits

_PREFIX_BYTES = 1
_PLAIN_COEFFICIENTS = 0  # coefficient_data_type: with a logarithm of their denominator


def check_base_layer(frame: VideoFrame) -> None:
    """Raise SourceError for Dolby Vision of profile 5.

    Its pictures are in a colour space of their own (IPT), and their values are changed scene by
    scene, so that a decoder that ignores the metadata shows green and purple. Those of the other
    profiles are HDR10, HLG or SDR.
    """
    data = side_data_of(frame).get(Type.DOVI_RPU_BUFFER)
    if data is not None and _is_profile_5(bytes(data)):
        raise SourceError(
            "source_codec_unsupported",
            "The video is Dolby Vision of profile 5, whose colours cannot be read."
            " HDR10, HLG and the other profiles of Dolby Vision are accepted.",
        )


def _is_profile_5(metadata: bytes) -> bool:
    """Return what `rpu_data_header` says (ETSI GS CCM 001)."""
    bits = Bits(metadata[_PREFIX_BYTES:])
    bits.read(6 + 11)  # type and format
    profile = bits.read(4)
    bits.read(4)  # level
    if not bits.read(1):  # vdr_seq_info_present_flag
        return False
    bits.read(1)
    if bits.read(2) == _PLAIN_COEFFICIENTS:
        bits.ue()
    bits.read(2)
    is_full_range = bits.read(1)
    return not profile and bool(is_full_range)
