"""Converts a task's stored edit into the media package's types.

A task that 0.1.0 accepted has no edit (None): it is rendered with the settings of that release.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from worker_server import media
from worker_server.queue.parts import PlannedPart
from worker_server.settings import Settings

_OPERATORS = media.Quality.BALANCED  # the quality that RENDER_PRESET and RENDER_CRF override
_BEFORE_EDITS = media.Profile("ultrafast", 22)  # the settings of 0.1.0, which stored no edits


@dataclass(frozen=True)
class Style:
    """What the clips of a task have in common."""

    aspect: media.Aspect
    fit: media.Fit
    profile: media.Profile


def planned_parts(
    source: media.Source,
    path: Path,
    edit: dict[str, Any] | None,
    settings: Settings,
    watch: media.PrepareWatch,
) -> list[PlannedPart]:
    """Return the parts of the source at `path`, prepared, by the edit.

    Raise media.EditError; where the source is read, EncodeFailed or Stopped.
    """
    edit = edit or {"part_seconds": settings.part_seconds}
    segments = edit.get("segments")
    time_ranges = [_time_range(segment) for segment in segments or [edit]]
    cut = media.Cut(edit.get("cut", media.Cut.EXACT))
    part_s = _seconds(edit["part_seconds"])
    clips = media.plan_cuts(source, path, time_ranges, part_s, cut, watch)
    return [_planned_part(clip, segments) for clip in clips]


def style_of(edit: dict[str, Any] | None, settings: Settings, live_parts: int) -> Style:
    """Return shape and encoder settings by the edit; the live parts share the encoder threads."""
    stored = edit or {}
    quality = media.Quality(stored.get("quality", _OPERATORS))
    profile = _BEFORE_EDITS if edit is None else media.PROFILES[quality]
    profile = replace(profile, threads=settings.encoder_threads_for(live_parts))
    return Style(
        media.Aspect(stored.get("aspect", media.Aspect.WIDE)),
        media.Fit(stored.get("fit", media.Fit.CROP)),
        _overridden(profile, settings) if quality == _OPERATORS else profile,
    )


def _overridden(profile: media.Profile, settings: Settings) -> media.Profile:
    """Return the profile with RENDER_PRESET and RENDER_CRF where they are set."""
    crf = profile.crf if settings.render_crf is None else settings.render_crf
    return replace(profile, preset=settings.render_preset or profile.preset, crf=crf)


def _time_range(stored: dict[str, Any]) -> media.TimeRange:
    end_s = stored.get("end_s")
    return media.TimeRange(
        _seconds(stored.get("start_s") or 0), None if end_s is None else _seconds(end_s)
    )


def _seconds(number: float) -> Fraction:
    """Return the decimal number: 12.4 becomes 62/5, not the nearest binary float.

    In nanoseconds: a float may have 324 decimals, and those of 500 segments would be more than the
    command line of the child that looks for cuts may have.
    """
    return Fraction(str(round(number, 9)))


def _planned_part(
    clip: media.PlannedClip, segments: Sequence[dict[str, Any]] | None
) -> PlannedPart:
    part = clip.part
    return PlannedPart(
        part.number,
        part.start_frame,
        part.end_frame,
        float(part.start_s),
        float(part.end_s),
        clip.time_range if segments else None,
        segments[clip.time_range].get("name") if segments else None,
    )
