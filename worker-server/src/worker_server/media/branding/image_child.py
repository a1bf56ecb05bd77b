"""Decodes an image and writes it as PNG, in a child process. Run by `normalize_image`."""

import io
import struct
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from worker_server.media.model.image_modes import in_full_colour, is_animated, load, upright
from worker_server.media.process.child_main import serve_one_request

_FORMATS = ("PNG", "JPEG", "WEBP")
_MAX_SIDE, _MAX_PIXELS = 8192, 4096 * 4096
_KEPT_SIDE = 1920
# Profiles and texts are larger than Pillow's default of 1 MiB; the child's memory is limited.
PngImagePlugin.MAX_TEXT_CHUNK = 32 * 1024**2
# Raised by Pillow's decoders; struct.error for a chunk after the picture that is too short.
_OF_DECODERS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC


def reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the PNG's `width` and `height`, or as `fault` a code of BrandFault."""
    try:
        with Image.open(payload["path"], formats=_FORMATS) as image:
            if (fault := _fault(image)) is not None:
                return {"fault": fault}
            shown = _shown(image, payload["background"])
    except UnidentifiedImageError:
        return {"fault": "brand_file_broken"}
    except Image.DecompressionBombError:
        return {"fault": "brand_image_too_large"}
    except _OF_DECODERS:
        return {"fault": "brand_file_broken"}
    with Path(payload["output"]).open("wb") as file:
        shown.save(file, "PNG", compress_level=6)
    return {"width": shown.width, "height": shown.height}


def _fault(image: Image.Image) -> str | None:
    """Return the fault that the headers show, before pixels are decoded; None without one."""
    if max(image.size) > _MAX_SIDE or image.width * image.height > _MAX_PIXELS:
        return "brand_image_too_large"
    return "brand_image_animated" if is_animated(image) else None


def _shown(image: Image.Image, background: str | None) -> Image.Image:
    """Return the image as a viewer shows it, without metadata, at most _KEPT_SIDE long."""
    image.draft("RGB", (_KEPT_SIDE, _KEPT_SIDE))  # for JPEG: decode at a reduced scale
    load(image)
    shown = in_full_colour(upright(image))
    shown.thumbnail((_KEPT_SIDE, _KEPT_SIDE))
    shown = _in_srgb(shown, image.info.get("icc_profile"))
    if background is None:
        return _without_metadata(shown)
    canvas = Image.new("RGBA", shown.size, background)
    return _without_metadata(Image.alpha_composite(canvas, shown).convert("RGB"))


def _in_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """Return the image in RGBA, converted from the colour space that its ICC profile describes."""
    if icc_profile is None:
        return image.convert("RGBA")
    mode = "RGB" if image.mode == "CMYK" else "RGBA"
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        if profile.profile.xcolor_space.strip() in ("CMYK", "RGB"):
            srgb = ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, profile, srgb, _INTENT, mode) or image
    except (ImageCms.PyCMSError, OSError):
        pass  # the profile is damaged or for another colour model: treat the colours as sRGB
    return image.convert("RGBA")


def _without_metadata(image: Image.Image) -> Image.Image:
    image.info.clear()
    return image


if __name__ == "__main__":
    Image.init()  # load all plugins now: the sandbox will refuse to open files
    serve_one_request(reply)
