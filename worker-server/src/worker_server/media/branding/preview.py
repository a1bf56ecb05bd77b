"""Draws a brand's preview: bumper before, content with watermark, bumper after, side by side."""

import base64
from fractions import Fraction

from worker_server.media.model.brand import Brand
from worker_server.media.process.child import (
    Child,
    ChildFailed,
    ChildFiles,
    ChildLimits,
    as_media_error,
)

PREVIEW_SIDE = 360  # pixels, longer side of each of the three frames
_CHILD = "worker_server.media.branding.preview_child"
_LIMITS = ChildLimits(cpu_s=10, memory_bytes=1024**3, file_bytes=1, nice=10)
_TIMEOUT_S = 8.0


def brand_preview(brand: Brand, aspect: Fraction) -> bytes:
    """Return the preview as JPEG, for frames of this aspect ratio.

    Raise MediaProcessCrashed, WorkFailed without an answer in time, or FileNotFoundError where a
    file of the brand is gone.
    """
    longer, shorter = PREVIEW_SIDE, round(PREVIEW_SIDE * min(aspect, 1 / aspect) / 2) * 2
    width, height = (longer, shorter) if aspect >= 1 else (shorter, longer)
    payload = {"brand": brand.to_json(), "width": width, "height": height}
    try:
        with Child(_CHILD, _LIMITS) as child:
            files = ChildFiles(read=brand.files)
            answer = child.request(payload, _TIMEOUT_S, lambda: False, files)
    except ChildFailed as error:
        raise as_media_error(error, "preview", "The preview took too long.") from error
    if "missing" in answer:
        raise FileNotFoundError(answer["missing"])
    return base64.b64decode(answer["jpeg"])
