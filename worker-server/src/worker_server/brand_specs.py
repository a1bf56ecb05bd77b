"""Converts a brand's stored spec into the media package's types."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from worker_server import media


def brand_of(spec: dict[str, Any], file: Callable[[str], Path]) -> media.Brand:
    """Return the brand of a stored spec, whose files are where `file` says."""
    return media.Brand(
        _bumper(spec.get("before"), file),
        _bumper(spec.get("after"), file),
        _watermark(spec.get("watermark"), file),
        spec["background"],
    )


def _bumper(spec: dict[str, Any] | None, file: Callable[[str], Path]) -> media.Bumper | None:
    if spec is None:
        return None
    path = file(spec["file"])
    return media.Bumper(path, Fraction(spec["duration_s"]), is_video=path.suffix == ".mp4")


def _watermark(spec: dict[str, Any] | None, file: Callable[[str], Path]) -> media.Watermark | None:
    if spec is None:
        return None
    return media.Watermark(
        file(spec["file"]),
        spec["width"],
        spec["height"],
        Fraction(str(spec["width_share"])),
        Fraction(str(spec["opacity"])),
        media.Place(spec["place"]),
    )
