"""Edits: what callers ask to be made of a video, as the body's `edit` and as a task's row has it.

The API parses an edit, jobs read it from the row; so this module imports neither of them.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from idrl_common.validation import Body

MAX_SEGMENTS = 500
_MAX_SECONDS = 1_000_000


def _one_decimal(value: float) -> float:
    if round(value, 1) != value:
        raise PydanticCustomError("one_decimal", "Must have one decimal at most.")
    return value


Seconds = Annotated[float, Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False)]
PartSeconds = Annotated[
    float, Field(ge=2, le=60, allow_inf_nan=False), AfterValidator(_one_decimal)
]
SegmentName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]

_UUID = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
BrandChoice = Annotated[str, Field(pattern=f"^(built-in|none|{_UUID})$"), AfterValidator(str.lower)]


def _check_order(start_s: object, end_s: float | None) -> None:
    if isinstance(start_s, int | float) and end_s is not None and end_s <= start_s:
        raise PydanticCustomError("end_before_start", "Must be greater than start_s.")


class Segment(Body):
    """A time range of the source that becomes parts of its own."""

    start_s: Seconds
    end_s: Seconds
    name: SegmentName | None = None

    @field_validator("end_s")
    @classmethod
    def _is_after_the_start(cls, end_s: float, info: ValidationInfo) -> float:
        _check_order(info.data.get("start_s"), end_s)
        return end_s


class Edit(Body):
    """What to make of the video; each field has a default."""

    part_seconds: PartSeconds | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    segments: Annotated[list[Segment], Field(min_length=1, max_length=MAX_SEGMENTS)] | None = None
    cut: Literal["exact", "keyframe", "silence", "scene"] = "exact"
    aspect: Literal["16:9", "9:16", "1:1", "4:5", "source"] = "16:9"
    fit: Literal["crop", "pad", "blur"] = "crop"
    quality: Literal["fast", "balanced", "small"] = "balanced"
    brand_id: BrandChoice | None = None

    @field_validator("end_s")
    @classmethod
    def _is_after_the_start(cls, end_s: float | None, info: ValidationInfo) -> float | None:
        _check_order(info.data.get("start_s") or 0, end_s)
        return end_s

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> "Edit":
        if self.segments is not None and (self.start_s is not None or self.end_s is not None):
            raise PydanticCustomError(
                "segments_exclude_stretch", "segments excludes start_s and end_s."
            )
        return self

    def merged_onto(self, others: dict[str, Any]) -> dict[str, Any]:
        """Return `others`, the fields of another edit, overridden by the fields set here, as JSON.

        Segments replace a time range (`start_s`, `end_s`), and a time range replaces segments.
        """
        set_fields = self.model_dump(mode="json", exclude_unset=True)
        replaced: set[str] = set()
        if set_fields.get("segments") is not None:
            replaced |= {"start_s", "end_s"}
        if set_fields.get("start_s") is not None or set_fields.get("end_s") is not None:
            replaced.add("segments")
        return {name: value for name, value in others.items() if name not in replaced} | set_fields

    def lengths_s(self, duration_s: float) -> list[float]:
        """Return the length of each time range that clips are made of, in seconds of the source."""
        time_ranges: list[tuple[float, float | None]] = [(self.start_s or 0, self.end_s)]
        if self.segments:
            time_ranges = [(segment.start_s, segment.end_s) for segment in self.segments]
        return [
            max(0, min(duration_s, duration_s if end_s is None else end_s) - start_s)
            for start_s, end_s in time_ranges
        ]

    def with_defaults(self, part_seconds: float) -> dict[str, Any]:
        """Return all fields as JSON, with this default for the longest part."""
        default = {} if self.part_seconds else {"part_seconds": part_seconds}
        return self.model_dump(mode="json") | default
