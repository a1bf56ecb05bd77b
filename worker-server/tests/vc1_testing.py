"""VC-1 of the Advanced profile: flat I pictures, of which some are interlaced (SMPTE ST 421).

The second field of an interlaced picture is brighter than the first, or darker, in turn.

No encoder of ffmpeg writes it.
"""

from collections.abc import Iterable

from h264_testing import escaped

_WIDTH, _HEIGHT = 64, 64
_SEQUENCE, _ENTRY_POINT, _FRAME = 0x0F, 0x0E, 0x0D
_STEP = 5  # of the quantizer, between the fields of an interlaced picture
# Differences of DC coefficients of luma: code and sign (table 0 for low motion).
_DIFFERENCES = {0: "1", _STEP: "001110", -_STEP: "001111"}


def stream(interlaced: Iterable[bool]) -> bytes:
    """Return a picture for each value: a flat one, or two fields of different brightness."""
    head = _unit(_SEQUENCE, _sequence()) + _unit(_ENTRY_POINT, _entry_point())
    pictures = (
        _frame(_STEP * (-1) ** number if fields else None)
        for number, fields in enumerate(interlaced)
    )
    return b"".join(head + _unit(_FRAME, picture) for picture in pictures)


def _bits(*fields: tuple[int, int]) -> str:
    """Return numbers, each given as its count of bits and its value."""
    return "".join(f"{value:0{count}b}" for count, value in fields)


def _unit(code: int, bits: str) -> bytes:
    return escaped(bytes([0, 0, 1, code]), bits)


def _sequence() -> str:
    """Profile 3, level 2, 4:2:0, no rates, no post-processing; the size; INTERLACE alone is set."""
    begin = _bits((2, 3), (3, 2), (2, 1), (3, 7), (5, 31), (1, 0))
    size = _bits((12, _WIDTH // 2 - 1), (12, _HEIGHT // 2 - 1))
    return begin + size + _bits((1, 0), (1, 1), (2, 0), (1, 1), (3, 0))


def _entry_point() -> str:
    """CLOSED_ENTRY; a uniform quantizer (QUANTIZER 3); nothing else."""
    return _bits((1, 0), (1, 1), (9, 0), (2, 3), (3, 0))


def _frame(second: int | None) -> str:
    """Return an I picture, interlaced as a frame (FCM 10) or progressive (FCM 0).

    `second` is the level of the second field; None in a progressive picture.
    """
    fields = second is not None
    bits = "10" if fields else "0"
    bits += "110" + "00" + _bits((5, 31))  # PTYPE, RNDCTRL, UVSAMP, PQINDEX
    raw = "00000"  # a bit plane whose bits are in the macroblocks
    bits += raw * 2 if fields else raw  # FIELDTX, ACPRED
    return bits + "000" + _macroblocks(second)  # the first table of each kind


def _macroblocks(second: int | None) -> str:
    bits, levels = "", dict[tuple[int, int], int]()
    for top in range(0, _HEIGHT // 8, 2):
        for left in range(0, _WIDTH // 8, 2):
            bits += "" if second is None else "1"  # FIELDTX: two blocks of each field
            bits += "10"  # CBPCY: no coefficients; no AC prediction
            for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
                at = top + row, left + column
                level = second or 0 if row else 0
                bits += _DIFFERENCES[level - _predicted(levels, *at)]
                levels[at] = level
            bits += "0000"  # chroma
    return bits


def _predicted(levels: dict[tuple[int, int], int], row: int, column: int) -> int:
    """Return the DC coefficient that a block's neighbours predict."""
    above, left = levels.get((row - 1, column)), levels.get((row, column - 1))
    if above is None or left is None:
        return (left if above is None else above) or 0
    corner = levels[row - 1, column - 1]
    return left if abs(above - corner) <= abs(corner - left) else above
