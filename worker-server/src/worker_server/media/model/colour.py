"""Brings the colours of any source to BT.709, limited range.

Numbers are code points of ISO/IEC 23091-2 (ITU-T H.273), the ones ffmpeg uses too.
"""

from worker_server.media.model.source import Source

# PQ and HLG: zscale's name of the transfer function, and its peak luminance in nits.
_HDR_TRANSFERS = {16: ("smpte2084", 10_000), 18: ("arib-std-b67", 1000)}
# Logarithmic transfer functions, which swscale rejects: `plain_tags` hides them, values stay.
_LOG_TRANSFERS = {9, 10}
# Without a tag, pictures of fewer lines are BT.601 and others BT.709, as players assume.
_HD_LINES = 720
_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
    11: "smpte431",
    12: "smpte432",
}
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
# Matrices that only the filter `zscale` reads.
_BT2020_CONSTANT = 10
_CONSTANT_LUMINANCE = {_BT2020_CONSTANT, 13}
_ZIMG_MATRICES = {8: "ycgco", 10: "2020_cl", 12: "chroma-derived-nc", 13: "chroma-derived-c"}
_HDR_MATRICES = {8: "ycgco", 9: "2020_ncl", 12: "chroma-derived-nc", 14: "ictcp"}
_RGB, _UNSPECIFIED = 0, 2
# Substrings of ffmpeg's names of RGB and grey pixel formats, to which no matrix applies.
_RGB_OR_GREY = ("rgb", "bgr", "gbr", "pal8", "gray", "mono", "ya8", "ya16")
# How ffmpeg's names of pixel formats with an alpha channel begin.
_ALPHA_FORMATS = ("yuva", "gbrap", "rgba", "argb", "bgra", "abgr", "ya8", "ya16", "vuya", "ayuv")
_CLEAR_PALETTES = ("png",)  # codecs whose palettes may have alpha (APNG decodes to RGBA)
TAGS = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
# Side data of the source's frames that clips do not have: of HDR, of two views in a picture, and
# captions, which copied pictures lose and whose last one would stay on screen over the bumper.
_SIDE_DATA = (
    "MASTERING_DISPLAY_METADATA",
    "CONTENT_LIGHT_LEVEL",
    "AMBIENT_VIEWING_ENVIRONMENT",
    "STEREO3D",
    "A53_CC",
)
WITHOUT_SIDE_DATA = ",".join(f"sidedata=mode=delete:type={kind}" for kind in _SIDE_DATA)
# Nits of linear value 1.0 in tone mapping: graphics white in HDR, by ITU-R BT.2408.
REFERENCE_WHITE = 203


def is_hdr(source: Source) -> bool:
    """Return whether the source needs tone mapping."""
    return is_hdr_transfer(source.colour_transfer)


def is_hdr_transfer(transfer: int) -> bool:
    """Return whether pictures of this transfer function are HDR."""
    return transfer in _HDR_TRANSFERS


def needs_zimg(source: Source) -> bool:
    """Return whether only `to_bt709` reads the source's colours: HDR, and rare matrices."""
    is_rare = source.colour_matrix in _ZIMG_MATRICES and not _is_rgb_or_grey(source)
    return is_hdr(source) or is_rare


def matrix(source: Source) -> str:
    """Return swscale's name of the source's matrix.

    Guessed by size where it is unspecified, reserved, or one that nothing here can read.
    """
    if name := _MATRICES.get(source.colour_matrix):
        return name
    return "bt709" if min(source.upright_size) >= _HD_LINES else "bt601"


def colour_range(source: Source) -> str:
    return "full" if source.full_range else "limited"


def scale_input(source: Source) -> str:
    """Return the options by which the filter `scale` reads the source's colours."""
    return f"in_color_matrix={matrix(source)}:in_range={colour_range(source)}"


def scale_output(source: Source) -> str:
    """Return the options by which `scale` writes BT.709 in limited range.

    swscale takes grey for full range whatever its tag, so that of limited range needs no change:
    written as full range, its values stay.
    """
    written = "full" if is_limited_grey(source) else "limited"
    return f"out_color_matrix=bt709:out_range={written}"


def is_limited_grey(source: Source) -> bool:
    """Return whether the source has no colours, and limited range, as HEVC and AV1 may have."""
    return source.pix_fmt.startswith("gray") and not source.full_range


def needs_conversion(source: Source) -> bool:
    """Return whether pixel values must change; where not, tags are enough and cost nothing."""
    return (
        source.pix_fmt != "yuv420p"
        or source.full_range
        or matrix(source) != "bt709"
        or needs_zimg(source)
    )


def plain_tags(source: Source) -> list[str]:
    """Return the filter that removes colour tags which most of ffmpeg's filters reject, if any.

    Filters that convert colours get the source's matrix and range as options instead.
    """
    readable = {_UNSPECIFIED, *_MATRICES} | ({_RGB} if _is_rgb_or_grey(source) else set())
    is_readable = source.colour_matrix in readable
    if is_readable and source.colour_transfer not in _LOG_TRANSFERS:
        return []
    return ["setparams=color_primaries=unknown:color_trc=unknown:colorspace=unknown"]


def has_alpha(source: Source) -> bool:
    """Return whether the source has transparent parts that must show the background.

    GIFs do not count: ffmpeg decodes their transparent pixels as white, like a page behind. HDR
    does not either: no blending of it is defined.
    """
    may_have_alpha = source.demuxer != "gif" and format_has_alpha(
        source.pix_fmt, source.video_codec
    )
    return may_have_alpha and not is_hdr(source)


def format_has_alpha(pix_fmt: str, codec: str) -> bool:
    """Return whether pictures of this format may have transparent parts."""
    return pix_fmt.startswith(_ALPHA_FORMATS) or (pix_fmt == "pal8" and codec in _CLEAR_PALETTES)


def to_bt709(source: Source) -> str:
    """Return the filters to BT.709 for a source that `needs_zimg`."""
    if is_hdr(source):
        return _tone_map(source)
    if source.colour_matrix in _CONSTANT_LUMINANCE:
        return _of_constant_luminance(source)
    primaries = _PRIMARIES.get(source.colour_primaries, "bt709")  # primaries are not converted
    code, same = _ZIMG_MATRICES[source.colour_matrix], f"pin={primaries}:p={primaries}"
    read = f"zscale=min={code}:rin={colour_range(source)}:tin=709:{same}"
    return f"{read}:t=709:m=709:r=limited,format=yuv420p"


def _of_constant_luminance(source: Source) -> str:
    """Return the filters to BT.709 from a matrix of constant luminance.

    zscale decodes it with the camera's curve (OETF), but would encode with the inverse of the
    display's (EOTF): so `lutrgb` applies the OETF of BT.709.
    """
    primaries = _PRIMARIES.get(source.colour_primaries, "bt709")
    code = source.colour_matrix
    own = "bt2020" if code == _BT2020_CONSTANT else primaries
    read = f"zscale=min={_ZIMG_MATRICES[code]}:rin={colour_range(source)}:tin=709:pin={own}"
    level = "val/maxval"
    curve = f"maxval*if(lt({level},0.018),4.5*{level},1.099*pow({level},0.45)-0.099)"
    curves = ":".join(f"{each}='{curve}'" for each in "rgb")
    into = "scale=out_color_matrix=bt709:out_range=limited,format=yuv420p"
    return f"{read}:p=709:t=linear:m=gbr,format=gbrp16le,lutrgb={curves},{into}"


def _tone_map(source: Source) -> str:
    """Return the filters from PQ or HLG to BT.709.

    Luminance up to 0.3 of reference white stays; above, the curve compresses it up to the peak of
    the format. The stream's own peak (mastering metadata) is ignored: it is often missing or wrong.
    """
    transfer, peak_nits = _HDR_TRANSFERS[source.colour_transfer]
    code = _HDR_MATRICES.get(source.colour_matrix, "2020_ncl")
    # ICtCp is defined for BT.2020 alone (ITU-R BT.2100); zscale rejects it beside others.
    own = "bt2020" if code == "ictcp" else _PRIMARIES.get(source.colour_primaries, "bt2020")
    read = f"zscale=min={code}:pin={own}:tin={transfer}:rin={colour_range(source)}"
    linear = f"{read}:p=709:t=linear:m=gbr:npl={REFERENCE_WHITE},format=gbrpf32le"
    curve = f"tonemap=mobius:param=0.3:desat=0:peak={peak_nits / REFERENCE_WHITE:.2f}"
    into = "zscale=t=709:m=709:r=limited,format=yuv420p"
    return f"{linear},{curve},{into}"


def _is_rgb_or_grey(source: Source) -> bool:
    return any(each in source.pix_fmt for each in _RGB_OR_GREY)
