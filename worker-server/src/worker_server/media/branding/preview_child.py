"""Draws a brand's preview in a child process. Run by `brand_preview`."""

import base64
import io
from typing import Any

import av
import av.logging
from PIL import Image

from worker_server.media.model.brand import Brand, Bumper, Watermark
from worker_server.media.model.containers import open_source
from worker_server.media.process.child_main import serve_one_request

_GAP = 8  # pixels
_SHEET_RGB = (24, 24, 27)  # RGB of the sheet
_LIGHT, _DARK = (196, 203, 211), (104, 117, 133)  # RGB of the gradient
_QUALITY = 85

Size = tuple[int, int]


def drawn(brand: Brand, size: Size) -> Image.Image:
    """Return the three frames side by side."""
    frames = [
        _bumper(brand.before, brand.background, size),
        _content(brand.watermark, size),
        _bumper(brand.after, brand.background, size),
    ]
    width, height = size
    sheet = Image.new("RGB", (3 * width + 4 * _GAP, height + 2 * _GAP), _SHEET_RGB)
    for index, frame in enumerate(frames):
        sheet.paste(frame, (_GAP + index * (width + _GAP), _GAP))
    return sheet


def _bumper(bumper: Bumper | None, background: str, size: Size) -> Image.Image:
    frame = Image.new("RGB", size, background)
    if bumper is None or bumper.duration_s <= 0:
        return frame
    picture = _middle_of(bumper) if bumper.is_video else Image.open(bumper.path, formats=["PNG"])
    scale = min(size[0] / picture.width, size[1] / picture.height)
    fitted = picture.convert("RGB").resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    )
    frame.paste(fitted, ((size[0] - fitted.width) // 2, (size[1] - fitted.height) // 2))
    return frame


def _middle_of(video: Bumper) -> Image.Image:
    """Return the picture in the middle of the video, whose ends often are black."""
    with open_source(video.path, "mov") as container:
        shown = None
        for shown in container.decode(video=0):
            if (shown.time or 0) >= video.duration_s / 2:
                break
        if shown is None:
            raise av.error.EOFError(0, "a video without pictures")
        rgb = shown.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
        return Image.fromarray(rgb)


def _content(mark: Watermark | None, size: Size) -> Image.Image:
    width, height = size
    shades = Image.linear_gradient("L").resize(size)
    frame = Image.composite(Image.new("RGB", size, _DARK), Image.new("RGB", size, _LIGHT), shades)
    if mark is None:
        return frame
    mark_w, mark_h, left, top = mark.box(width, height)
    with Image.open(mark.path, formats=["PNG"]) as picture:
        sized = picture.convert("RGBA").resize((mark_w, mark_h))
    opacity_filter = sized.getchannel("A").point(lambda alpha: round(alpha * float(mark.opacity)))
    frame.paste(sized.convert("RGB"), (left, top), opacity_filter)
    return frame


def reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the preview as `jpeg` in base64, or which file is `missing`."""
    brand, target = Brand.from_json(payload["brand"]), io.BytesIO()
    try:
        drawn(brand, (payload["width"], payload["height"])).save(target, "JPEG", quality=_QUALITY)
    except FileNotFoundError as error:
        return {"missing": str(error)}
    return {"jpeg": base64.b64encode(target.getvalue()).decode()}


if __name__ == "__main__":
    av.logging.set_level(None)
    Image.init()  # load all plugins now: the sandbox will refuse to open files
    serve_one_request(reply)
