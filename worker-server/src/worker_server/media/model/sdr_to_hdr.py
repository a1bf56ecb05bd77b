"""Filters from SDR to HDR, for sources that have both: their normalized form is HDR.

Filters are those that PyAV has. SDR white becomes `REFERENCE_WHITE`, so that tone mapping, which
comes later, shows both as bright as one display would.
"""

from worker_server.media.model import colour
from worker_server.media.model.source import Source

_PQ, _BT2020 = 16, {2, 9}  # 2 is unspecified
# From linear BT.709 to linear BT.2020 (ITU-R BT.2087).
_TO_2020 = {
    "r": (0.6274, 0.3293, 0.0433),
    "g": (0.0691, 0.9195, 0.0114),
    "b": (0.0164, 0.0880, 0.8956),
}
_LINEAR = "pow({0},2.4)"  # as displays show BT.709 (ITU-R BT.1886), and zscale reads it
# ITU-R BT.2100, tables 4 and 5; HLG for a display of 1000 nits, whose system gamma is 1.2.
_TO_PQ = "pow((0.8359375+18.8515625*{0})/(1+18.6875*{0}),78.84375)"
_TO_HLG = "if(lt({0},1/12),sqrt(3*{0}),0.17883277*log(12*{0}-0.28466892)+0.55991073)"


def needs_hdr(own: Source, source: Source) -> bool:
    """Return whether `own`, a picture's format within the source, is SDR and the source HDR."""
    both = colour.is_hdr(source) and not colour.is_hdr(own)
    return both and source.colour_matrix in _BT2020


def to_hdr(own: Source, source: Source, size: tuple[int, int]) -> list[tuple[str, str]]:
    """Return the filters from the format `own` to the source's HDR, in ten bits of this size."""
    read = f"{size[0]}:{size[1]}:flags=bicubic:{colour.scale_input(own)}"
    return [
        ("scale", read),
        ("format", "gbrp16le"),
        _curve(_LINEAR.format("(val/maxval)")),
        ("colorchannelmixer", _mixed()),
        _curve(_encoding(source)),
        ("scale", "out_color_matrix=bt2020:out_range=limited"),
        ("format", "yuv420p10le"),
    ]


def _encoding(source: Source) -> str:
    nits = f"(val/maxval*{colour.REFERENCE_WHITE})"
    if source.colour_transfer == _PQ:
        return _TO_PQ.format(f"pow({nits}/10000,0.1593017578125)")
    return _TO_HLG.format(f"pow({nits}/1000,1/1.2)")


def _curve(expression: str) -> tuple[str, str]:
    return "lutrgb", ":".join(f"{each}='maxval*({expression})'" for each in "rgb")


def _mixed() -> str:
    return ":".join(
        f"{to}{by}={share}"
        for to, shares in _TO_2020.items()
        for by, share in zip("rgb", shares, strict=True)
    )
