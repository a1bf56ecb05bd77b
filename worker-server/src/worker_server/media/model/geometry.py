"""Sizes: the frame of a clip, what is kept of the source, and where in the frame it is shown."""

from enum import StrEnum
from fractions import Fraction

from worker_server.media.model.source import Source

Box = tuple[int, int, int, int]  # width, height, left, top


class Aspect(StrEnum):
    """The shape of a clip's frame."""

    WIDE = "16:9"
    TALL = "9:16"
    SQUARE = "1:1"
    PORTRAIT = "4:5"
    SOURCE = "source"


class Fit(StrEnum):
    """How a source of another aspect ratio is fitted into the frame."""

    CROP = "crop"
    PAD = "pad"
    BLUR = "blur"


WIDE = Fraction(16, 9)
# Sizes with exactly this aspect ratio and even sides are multiples of these.
_STEPS = {
    Aspect.WIDE: (32, 18),
    Aspect.TALL: (18, 32),
    Aspect.SQUARE: (2, 2),
    Aspect.PORTRAIT: (8, 10),
}
_MIN_LONG_SIDE, _MIN_SIDE = 32, 16  # smaller frames have no room for a logo


def frame_size(
    source: Source,
    max_side: int = 1920,
    aspect: Aspect = Aspect.WIDE,
    fit: Fit = Fit.CROP,
) -> tuple[int, int]:
    """Return width and height of the clip, even, so that only tiny sources are enlarged.

    The longer side is at most `max_side`, the shorter one 9/16 of it: 1920 allows 1920 x 1080,
    1080 x 1920, 1080 x 1350 and 1080 x 1080.
    """
    if aspect is Aspect.SOURCE:
        return _source_size(source, max_side)
    step_w, step_h = _STEPS[aspect]
    max_steps = (source.display_width // step_w, source.display_height // step_h)
    fit_steps = min(max_steps) if fit is Fit.CROP else max(max_steps)
    most_w, most_h = _largest(step_w, step_h, max_side)
    steps = min(fit_steps, most_w // step_w, most_h // step_h)
    steps = max(steps, -(-_MIN_LONG_SIDE // max(step_w, step_h)))
    return steps * step_w, steps * step_h


def _largest(width: Fraction | int, height: Fraction | int, max_side: int) -> tuple[int, int]:
    """Return the largest sides of a frame that is as wide or as tall as this one."""
    short_side = max_side * 9 // 16
    return (max_side, short_side) if width >= height else (short_side, max_side)


def _source_size(source: Source, max_side: int) -> tuple[int, int]:
    width, height = source.display_width, Fraction(source.display_height)
    most_w, most_h = _largest(width, height, max_side)
    scale = min(Fraction(1), most_w / width, most_h / height)
    return (
        max(_MIN_SIDE, int(width * scale) // 2 * 2),
        max(_MIN_SIDE, int(height * scale) // 2 * 2),
    )


def crop_box(source: Source, aspect: Fraction | None = WIDE) -> Box:
    """Return what to keep of the upright source, in its own pixels; all of it without an aspect.

    Sides and offsets are even, so that the chroma samples of 4:2:0 stay aligned.
    """
    width, height = source.upright_size
    kept_w, kept_h = Fraction(width), Fraction(height)
    if aspect is not None:
        pixels = aspect / source.upright_aspect
        kept_w, kept_h = min(kept_w, height * pixels), min(kept_h, width / pixels)
    return _centred(_even(kept_w, width), _even(kept_h, height), width, height)


def content_box(source: Source, kept: Box, width: int, height: int, fit: Fit) -> Box:
    """Return where a frame of this size shows what is kept of the source."""
    if fit is Fit.CROP:
        return width, height, 0, 0
    shown_w, shown_h = kept[0] * source.upright_aspect, Fraction(kept[1])
    scale = min(width / shown_w, height / shown_h)
    return _centred(_even(shown_w * scale, width), _even(shown_h * scale, height), width, height)


def _centred(width: int, height: int, outer_w: int, outer_h: int) -> Box:
    return width, height, (outer_w - width) // 4 * 2, (outer_h - height) // 4 * 2


def _even(side: Fraction, limit: int) -> int:
    """Return the even number next to `side`, within the limit; a side of one pixel stays."""
    return min(max(2, round(side / 2) * 2), max(1, limit // 2 * 2))
