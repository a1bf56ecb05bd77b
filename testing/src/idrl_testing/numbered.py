"""Pictures with a number in them, which survives scaling, cropping to 16:9 and encoding.

The number is written in binary: ten cells, black or white, across the middle of the picture.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

NUMBER_BITS = 10
# The middle 60 % of the width holds the cells, so that cropping to 16:9 keeps them.
_LEFT, _SPAN = 0.2, 0.6
_GREY, _BLACK, _WHITE = 110, 30, 225


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return a grey picture with the number in it."""
    drawn = np.full((height, width), _GREY, np.uint8)
    for bit in range(NUMBER_BITS):
        left, right = (int(width * _column_of(bit + side)) for side in (0, 1))
        drawn[height // 4 : height * 3 // 4, left:right] = _WHITE if number >> bit & 1 else _BLACK
    return drawn


def pictures(numbers: Iterable[int], width: int, height: int) -> bytes:
    """Return pictures one after the other, as ffmpeg's rawvideo demuxer reads them."""
    return b"".join(picture(number, width, height).tobytes() for number in numbers)


def number_in(shown: NDArray[np.uint8]) -> int:
    """Read the number in a grey picture."""
    height, width = shown.shape
    row = shown[height // 2 - 4 : height // 2 + 4].mean(axis=0)
    centres = [int(width * _column_of(bit + 0.5)) for bit in range(NUMBER_BITS)]
    return sum(1 << bit for bit, centre in enumerate(centres) if row[centre] > 128)


def _column_of(cell: float) -> float:
    return _LEFT + _SPAN * cell / NUMBER_BITS
