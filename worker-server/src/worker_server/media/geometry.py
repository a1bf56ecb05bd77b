"""Sizes: the 16:9 frame of a clip and what is cropped from the source to fill it."""

from fractions import Fraction

from worker_server.media.source import Source

_ASPECT = Fraction(16, 9)
# Exactly 16:9 with even sides leaves these steps only.
_STEP_W, _STEP_H = 32, 18


def frame_size(source: Source, max_width: int = 1920) -> tuple[int, int]:
    """Return width and height of the clip: 16:9, even, not larger than the source cropped to fill."""
    steps = min(source.display_width // _STEP_W, source.display_height // _STEP_H, max_width // _STEP_W)
    steps = max(1, steps)
    return steps * _STEP_W, steps * _STEP_H


def crop_size(source: Source) -> tuple[int, int]:
    """Return what to keep of the upright source, centred, in its own pixels; even sides where it has them."""
    width, height = source.upright_size
    aspect = _ASPECT / source.upright_aspect
    if width > height * aspect:
        return _even(height * aspect, width), height
    return width, _even(width / aspect, height)


def _even(side: Fraction, limit: int) -> int:
    return min(limit, max(2, round(side / 2) * 2))
