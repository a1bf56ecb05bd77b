"""A task's contact sheet: the posters of its finished parts as one picture, with their times.

A render worker has encoded the posters, so they may be decoded outside the decoders' sandbox.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from idrl_common.times import play_time
from worker_server import storage
from worker_server.api.poster_queries import PosterNotFound, PublishedPart

COLUMNS = 6
MAX_TILES = 96
TILE = 240  # pixels, longer side
_MARGIN, _LABEL = 8, 24
_FONT_SIZE, _INDENT = 14, 2
_BACKGROUND, _EMPTY, _INK = "#18181b", "#3f3f46", "#f4f4f5"
_JPEG_QUALITY = 80


def contact_sheet(remote_folder: Path, parts: Sequence[PublishedPart]) -> bytes:
    """Return the sheet as JPEG, with at most MAX_TILES of the parts, evenly chosen.

    A part whose poster is missing has a plain tile. Raise PosterNotFound where all are missing,
    OSError while the share is unavailable.
    """
    chosen = _evenly(parts)
    posters = [_poster(remote_folder, part) for part in chosen]
    present = [poster for poster in posters if poster]
    if len(present) < len(posters) and not storage.is_mounted(remote_folder):
        raise OSError("the share is not mounted")
    if not present:
        raise PosterNotFound("No clip of the task has a poster.")
    width, height = (max(poster.size[side] for poster in present) for side in (0, 1))
    return _drawn(chosen, posters, max(width, _label_width(chosen)), height)


def _evenly(parts: Sequence[PublishedPart]) -> list[PublishedPart]:
    if len(parts) <= MAX_TILES:
        return list(parts)
    return [parts[index * len(parts) // MAX_TILES] for index in range(MAX_TILES)]


def _poster(remote_folder: Path, part: PublishedPart) -> Image.Image | None:
    """Return the poster in a tile's size; None where there is none, or it is damaged."""
    try:
        content = storage.poster_path(remote_folder / part.path).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return None
    try:
        poster = Image.open(io.BytesIO(content), formats=["JPEG"])
        with poster:
            poster.draft("RGB", (TILE, TILE))
            poster.thumbnail((TILE, TILE))
            return poster.convert("RGB")
    except (OSError, ValueError):  # cut off, or no JPEG
        return None


def _drawn(
    parts: Sequence[PublishedPart], posters: Sequence[Image.Image | None], width: int, height: int
) -> bytes:
    columns = min(COLUMNS, len(parts))
    step_x, step_y = width + _MARGIN, height + _LABEL + _MARGIN
    size = (columns * step_x + _MARGIN, math.ceil(len(parts) / columns) * step_y + _MARGIN)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), _font()
    for index, (part, poster) in enumerate(zip(parts, posters, strict=True)):
        left, top = _MARGIN + index % columns * step_x, _MARGIN + index // columns * step_y
        draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_EMPTY)
        if poster:
            place = (left + (width - poster.width) // 2, top + (height - poster.height) // 2)
            sheet.paste(poster, place)
        draw.text((left + _INDENT, top + height + 4), _label(part), fill=_INK, font=font)
    output = io.BytesIO()
    sheet.save(output, "JPEG", quality=_JPEG_QUALITY)
    return output.getvalue()


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(_FONT_SIZE)


def _label_width(parts: Sequence[PublishedPart]) -> int:
    """Return how wide a tile is for its label: pictures may be narrower."""
    return _INDENT + max(math.ceil(_font().getlength(_label(part))) for part in parts)


def _label(part: PublishedPart) -> str:
    return f"{part.number + 1}   {play_time(part.start_s)} - {play_time(part.end_s)}"
