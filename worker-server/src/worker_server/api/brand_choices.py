"""Which brand a task has: the one that its edit names, else the account's default."""

from collections.abc import Mapping
from typing import Any

from idrl_common.problems import FieldError, Problem
from worker_server.queue import brands

_MESSAGE = "This account has no such brand."


def with_brand(owner_id: int, edit: dict[str, Any]) -> dict[str, Any]:
    """Return the complete edit with the brand that it names, or the account's default.

    Raise a 422 Problem.
    """
    resolved = brands.resolve(owner_id, [edit["brand_id"]])
    if edit["brand_id"] not in resolved:
        raise Problem(422, "brand_not_found", _MESSAGE, errors=[_error("edit.brand_id")])
    return {**edit, "brand_id": resolved[edit["brand_id"]]}


def with_brands(
    owner_id: int, edits: Mapping[int, dict[str, Any]]
) -> tuple[dict[int, dict[str, Any]], list[FieldError]]:
    """Return the complete edits with their brands, and an error for each unknown brand."""
    resolved = brands.resolve(owner_id, [edit["brand_id"] for edit in edits.values()])
    errors = [
        _error(f"items.{index}.edit.brand_id")
        for index, edit in edits.items()
        if edit["brand_id"] not in resolved
    ]
    return {
        index: {**edit, "brand_id": resolved[edit["brand_id"]]}
        for index, edit in edits.items()
        if edit["brand_id"] in resolved
    }, errors


def _error(field: str) -> FieldError:
    return {"field": field, "code": "brand_not_found", "message": _MESSAGE}
