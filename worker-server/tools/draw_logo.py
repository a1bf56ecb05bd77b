"""Draws the built-in logo, `media/logo.png`. Run this script after changing the drawing."""

from pathlib import Path

from PIL import Image, ImageDraw

_LOGO = Path(__file__).parents[1] / "src" / "worker_server" / "media" / "logo.png"
_SIZE = (836, 320)
_OVERSAMPLE = 4
_INK, _ACCENT = (245, 247, 250, 255), (255, 138, 61, 255)
_STROKE = 22


def draw() -> Image.Image:
    """Return the mark (a drone seen from above) and the word, on nothing."""
    image = Image.new("RGBA", (_SIZE[0] * _OVERSAMPLE, _SIZE[1] * _OVERSAMPLE))
    pen = ImageDraw.Draw(image)
    _drone(pen)
    _word(pen)
    return image.resize(_SIZE, Image.Resampling.LANCZOS)


def _drone(pen: ImageDraw.ImageDraw) -> None:
    _line(pen, _INK, (90, 90), (230, 230))
    _line(pen, _INK, (90, 230), (230, 90))
    for x in (90, 230):
        for y in (90, 230):
            _ring(pen, _ACCENT, x, y, 56)
    _disc(pen, _INK, 160, 160, 40)


def _word(pen: ImageDraw.ImageDraw) -> None:
    """The four letters of "idrl", drawn with lines and rings, so that no font is needed."""
    top, base, radius = 60, 250, 60
    middle = base - radius
    _line(pen, _INK, (380, middle - radius), (380, base))
    _disc(pen, _ACCENT, 380, 84, 17)
    _ring(pen, _INK, 500, middle, radius)
    _line(pen, _INK, (500 + radius - 11, top), (500 + radius - 11, base))
    _line(pen, _INK, (640, middle - radius), (640, base))
    _arc(pen, _INK, 640 + radius - 11, middle, radius, 180, 300)
    _line(pen, _INK, (790, top), (790, base))


def _box(x: int, y: int, radius: int) -> tuple[int, int, int, int]:
    return tuple(value * _OVERSAMPLE for value in (x - radius, y - radius, x + radius, y + radius))  # type: ignore[return-value] # four


def _line(
    pen: ImageDraw.ImageDraw, ink: tuple[int, ...], start: tuple[int, int], end: tuple[int, int]
) -> None:
    ends = [tuple(value * _OVERSAMPLE for value in point) for point in (start, end)]
    pen.line(ends, fill=ink, width=_STROKE * _OVERSAMPLE)
    for x, y in (start, end):
        _disc(pen, ink, x, y, _STROKE // 2)


def _disc(pen: ImageDraw.ImageDraw, ink: tuple[int, ...], x: int, y: int, radius: int) -> None:
    pen.ellipse(_box(x, y, radius), fill=ink)


def _ring(pen: ImageDraw.ImageDraw, ink: tuple[int, ...], x: int, y: int, radius: int) -> None:
    _arc(pen, ink, x, y, radius, 0, 360)


def _arc(
    pen: ImageDraw.ImageDraw,
    ink: tuple[int, ...],
    x: int,
    y: int,
    radius: int,
    start: int,
    end: int,
) -> None:
    pen.arc(_box(x, y, radius), start, end, fill=ink, width=_STROKE * _OVERSAMPLE)


if __name__ == "__main__":
    draw().quantize(64, Image.Quantize.FASTOCTREE).save(_LOGO, optimize=True)
