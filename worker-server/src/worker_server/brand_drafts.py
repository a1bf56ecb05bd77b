"""A brand as a caller has sent it, and the type of what makes a stored one of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_server.models import Brand


@dataclass(frozen=True)
class BrandDraft:
    """What a caller has sent; `files` by `before`, `after` and `watermark`, in `folder`."""

    owner_id: int
    name: str
    background: str
    durations_s: Mapping[str, float]
    watermark: dict[str, Any]
    files: Mapping[str, Path]
    folder: Path


# Takes the draft and the share's folder.
Maker = Callable[[BrandDraft, Path], Brand]
# Draws the brand's preview for a shape such as `16:9`; the last is the share's folder.
PreviewDrawer = Callable[[Brand, str, Path], bytes]
