"""Merges edits: a change into a planned task's edit, and each batch item's into the batch's."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from idrl_common.problems import FieldError, Problem
from idrl_common.validation import validate_each, validate_field
from worker_server.api.brand_choices import with_brand
from worker_server.api.schemas import NewTask, source_document
from worker_server.edits import Edit
from worker_server.errors import FailureCode
from worker_server.limits import MAX_BATCH_SEGMENTS, MAX_PARTS
from worker_server.queue.planning import Editor

_ROUNDING_S = 0.0005  # the tolerance that planning uses


def changed_edit(owner_id: int, change: Edit, part_seconds: float) -> Editor:
    """Return the function that merges `change` into a task's edit, with all defaults.

    The task keeps the brand that it has, also once that is deleted. Raises a 400 Problem where the
    result is not valid, begins after the source's end, or makes too many parts: planning would
    fail the task.
    """

    def edited(stored: dict[str, Any], source: dict[str, Any]) -> tuple[dict[str, Any], float]:
        edit, complete = _merged(change, stored, part_seconds)
        lengths_s: list[float] = []
        if facts := source_document(source):
            _check_begins(edit, facts["duration_s"])
            lengths_s = edit.lengths_s(facts["duration_s"])
            _check_count(lengths_s, complete["part_seconds"])
        brand_id = complete["brand_id"]
        is_unchanged = brand_id is not None and brand_id == stored.get("brand_id")
        chosen = complete if is_unchanged else with_brand(owner_id, complete)
        return chosen, sum(lengths_s)

    return edited


def _merged(
    change: Edit, stored: dict[str, Any], part_seconds: float
) -> tuple[Edit, dict[str, Any]]:
    """Return `change` merged onto the stored edit, and that with all defaults."""
    # Not validated again: PART_SECONDS may be beyond the bounds of what callers choose themselves.
    others = {name: value for name, value in stored.items() if name != "part_seconds"}
    edit = validate_field(Edit, change.merged_onto(others), "edit")
    if "part_seconds" not in change.model_fields_set:
        part_seconds = stored.get("part_seconds", part_seconds)
    return edit, edit.with_defaults(part_seconds)


def edits_of_items(
    default: Edit, items: Mapping[int, NewTask]
) -> tuple[dict[int, Edit], list[FieldError]]:
    """Return each item's edit merged onto the batch's, and the errors of invalid results.

    Raise a 400 Problem for more than MAX_BATCH_SEGMENTS.
    """
    fields = default.merged_onto({})
    merged = [(item.edit or Edit()).merged_onto(fields) for item in items.values()]
    _check_segments(merged)
    valid, errors = validate_each(Edit, merged, "items")
    indexes = list(items)
    for error in errors:
        _, place, name = error["field"].split(".", 2)
        field = f"items.{indexes[int(place)]}.edit"
        error["field"] = field if name == "body" else f"{field}.{name}"
    return {indexes[place]: edit for place, edit in valid.items()}, errors


def _check_segments(edits: Sequence[Mapping[str, Any]]) -> None:
    """Raise a 400 Problem for too many: the batch's own become those of each of its items."""
    count = sum(len(edit.get("segments") or ()) for edit in edits)
    if count > MAX_BATCH_SEGMENTS:
        error: FieldError = {
            "field": "items",
            "code": "too_many_segments",
            "message": f"They have {count} segments; at most {MAX_BATCH_SEGMENTS} are accepted.",
        }
        raise Problem(400, "invalid_body", "The batch has too many segments.", errors=[error])


def _check_begins(edit: Edit, duration_s: float) -> None:
    """Raise a 400 Problem for a start at or after the source's end, rounded to milliseconds."""
    begins = {"edit.start_s": edit.start_s or 0}
    for index, segment in enumerate(edit.segments or []):
        begins[f"edit.segments.{index}.start_s"] = segment.start_s
    errors: list[FieldError] = [
        {
            "field": field,
            "code": FailureCode.EDIT_BEYOND_END,
            "message": f"The video ends before {start_s:g} s.",
        }
        for field, start_s in begins.items()
        if start_s + _ROUNDING_S >= duration_s
    ]
    if errors:
        message = "The edit selects a time after the end of the video."
        raise Problem(400, "invalid_body", message, errors=errors[:20])


def _check_count(lengths_s: Sequence[float], part_s: float) -> None:
    """Raise a 400 Problem where even parts of the full length are more than MAX_PARTS."""
    count = sum(math.ceil(length_s / part_s) for length_s in lengths_s)
    if count > MAX_PARTS:
        error: FieldError = {
            "field": "edit.part_seconds",
            "code": FailureCode.EDIT_TOO_MANY_PARTS,
            "message": f"There would be {count} parts; at most {MAX_PARTS} are made.",
        }
        raise Problem(400, "invalid_body", "The edit makes too many parts.", errors=[error])
