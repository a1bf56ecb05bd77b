"""Brings the colours of any source to BT.709, limited range.

Numbers are code points of ISO/IEC 23091-2 (ITU-T H.273), the ones ffmpeg uses too.
"""

from worker_server.media.model.source import Source

_UNKNOWN = 2
_BT709, _RGB, _BT601, _BT2020 = 1, 0, {5, 6}, {9, 10}
_HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}  # PQ and HLG
# Untagged pictures: standard definition is BT.601, high definition BT.709, as players assume.
_HD_LINES = 720
_PRIMARIES = {1: "bt709", 9: "bt2020"}
_MATRICES = {4: "fcc", 7: "smpte240m"}
# How ffmpeg's names of pixel formats with an alpha channel begin.
_ALPHA_FORMATS = ("yuva", "gbrap", "rgba", "argb", "bgra", "abgr", "ya8", "ya16", "vuya", "ayuv")
TAGS = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
# Nits of reference white that ITU-R BT.2408 gives graphics in HDR; brighter is rolled off.
_REFERENCE_WHITE = 203


def is_hdr(source: Source) -> bool:
    """Tell whether the source needs tone mapping."""
    return source.colour_transfer in _HDR_TRANSFERS


def matrix(source: Source) -> str:
    """Return swscale's name of the source's matrix, guessed by size where it is unspecified."""
    code = source.colour_matrix
    if code in (_UNKNOWN, _RGB):
        return "bt709" if min(source.upright_size) >= _HD_LINES else "bt601"
    if code in _BT2020:
        return "bt2020"
    return "bt601" if code in _BT601 else _MATRICES.get(code, "bt709")


def colour_range(source: Source) -> str:
    return "full" if source.full_range else "limited"


def scale_input(source: Source) -> str:
    """Return the options by which the filter `scale` reads the source's colours."""
    return f"in_color_matrix={matrix(source)}:in_range={colour_range(source)}"


def needs_conversion(source: Source) -> bool:
    """Tell whether pixel values must change; where not, tags are enough and cost nothing."""
    return (
        source.pix_fmt != "yuv420p"
        or source.full_range
        or matrix(source) != "bt709"
        or is_hdr(source)
    )


def has_alpha(source: Source) -> bool:
    """Tell whether what is behind the source shows through it.

    GIFs do not count: their decoder makes white of what is clear, as a page would be. HDR does not
    either: no blending of it is defined.
    """
    is_clear = source.pix_fmt.startswith(_ALPHA_FORMATS) and source.demuxer != "gif"
    return is_clear and not is_hdr(source)


def tone_map(source: Source) -> str:
    """Return the filters from PQ or HLG to BT.709."""
    transfer = _HDR_TRANSFERS[source.colour_transfer]
    primaries = _PRIMARIES.get(source.colour_primaries, "bt2020")
    into = f"zscale=min=2020_ncl:pin={primaries}:tin={transfer}:rin={colour_range(source)}"
    return (
        f"{into}:t=linear:npl={_REFERENCE_WHITE},format=gbrpf32le,zscale=p=709,tonemap=hable:desat=0,"
        "zscale=t=709:m=709:r=limited,format=yuv420p"
    )
