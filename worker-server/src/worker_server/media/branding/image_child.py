"""Decodes an image and writes it as PNG, in a child process. Run by `normalize_image`."""

from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from worker_server.media.process.child_main import serve_one_request

_FORMATS = ("PNG", "JPEG", "WEBP")
_MAX_SIDE, _MAX_PIXELS = 8192, 4096 * 4096
_KEPT_SIDE = 1920


def reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the sides of the PNG, or the code of what is wrong with the image."""
    try:
        with Image.open(payload["path"], formats=_FORMATS) as image:
            if (fault := _fault(image)) is not None:
                return {"fault": fault}
            upright = _upright(image, payload["background"])
    except UnidentifiedImageError:
        return {"fault": "brand_file_broken"}
    except Image.DecompressionBombError:
        return {"fault": "brand_image_too_large"}
    except (OSError, SyntaxError, ValueError, EOFError, IndexError):  # as Pillow's decoders raise
        return {"fault": "brand_file_broken"}
    with Path(payload["output"]).open("wb") as file:
        upright.save(file, "PNG", compress_level=6)
    return {"width": upright.width, "height": upright.height}


def _fault(image: Image.Image) -> str | None:
    """Judge the image by its headers, before its pixels are decoded."""
    if max(image.size) > _MAX_SIDE or image.width * image.height > _MAX_PIXELS:
        return "brand_image_too_large"
    return "brand_image_animated" if getattr(image, "n_frames", 1) > 1 else None


def _upright(image: Image.Image, background: str | None) -> Image.Image:
    """Return the image as a viewer shows it, without metadata, at most _KEPT_SIDE long."""
    image.draft("RGB", (_KEPT_SIDE, _KEPT_SIDE))  # JPEG: decodes no more than needed
    image.load()
    image.thumbnail((_KEPT_SIDE, _KEPT_SIDE))
    shown = ImageOps.exif_transpose(image).convert("RGBA")
    if background is None:
        return _bare(shown)
    ground = Image.new("RGBA", shown.size, background)
    return _bare(Image.alpha_composite(ground, shown).convert("RGB"))


def _bare(image: Image.Image) -> Image.Image:
    image.info.clear()
    return image


if __name__ == "__main__":
    Image.init()  # no plugin is loaded once files are out of reach
    serve_one_request(reply)
