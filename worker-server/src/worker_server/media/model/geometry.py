"""Sizes: the 16:9 frame of a clip and what is cropped from the source to fill it."""

from fractions import Fraction

from worker_server.media.model.source import Source

_ASPECT = Fraction(16, 9)
# Exactly 16:9 with even sides leaves these steps only.
_STEP_W, _STEP_H = 32, 18


def frame_size(source: Source, max_width: int = 1920) -> tuple[int, int]:
    """Return width and height of the clip: 16:9, even, at most the source's cropped size."""
    steps = min(
        source.display_width // _STEP_W, source.display_height // _STEP_H, max_width // _STEP_W
    )
    steps = max(1, steps)
    return steps * _STEP_W, steps * _STEP_H


def crop_box(source: Source) -> tuple[int, int, int, int]:
    """Return width, height, left and top of what to keep of the upright source, in its own pixels.

    All are even, so that the colour samples of 4:2:0 need not be moved.
    """
    width, height = source.upright_size
    aspect = _ASPECT / source.upright_aspect
    kept_w, kept_h = (
        _even(min(Fraction(width), height * aspect), width),
        _even(min(Fraction(height), width / aspect), height),
    )
    return kept_w, kept_h, (width - kept_w) // 4 * 2, (height - kept_h) // 4 * 2


def _even(side: Fraction, limit: int) -> int:
    """Return the even number next to `side`, within the limit; a side of one pixel stays."""
    return min(max(2, round(side / 2) * 2), max(1, limit // 2 * 2))
