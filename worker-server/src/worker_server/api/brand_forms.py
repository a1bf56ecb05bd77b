"""The form of POST /brands: its fields, and its files on this machine's disk."""

from pathlib import Path
from typing import Annotated, Literal

from flask import request
from pydantic import AfterValidator, Field

from idrl_common.problems import FieldError, Problem
from idrl_common.validation import Query, parse_form
from worker_server.api.labels import Name

FILES = ("before", "after", "watermark")
MAX_BYTES = 32 * 1024**2
# Bytes of the form besides its files: part headers, boundaries, other fields.
_OVERHEAD_BYTES = 64 * 1024
_MAX_PARTS = 20

Seconds = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$"), AfterValidator(str.lower)]


class BrandForm(Query):
    """The fields besides the files, as text."""

    name: Name
    before_s: Seconds = 1.0
    after_s: Seconds = 1.0
    background: Colour = "#141414"
    watermark_place: Literal[
        "top-left",
        "top",
        "top-right",
        "left",
        "center",
        "right",
        "bottom-left",
        "bottom",
        "bottom-right",
    ] = "bottom-right"
    watermark_width: float = Field(0.2, ge=0.02, le=0.5, allow_inf_nan=False)
    watermark_opacity: float = Field(1.0, ge=0, le=1, allow_inf_nan=False)


def receive_form(folder: Path) -> tuple[BrandForm, dict[str, Path]]:
    """Return the form, and its files in `folder`; raise a Problem 400, 413 or 415."""
    if request.mimetype != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", "Send the body as multipart/form-data.")
    request.max_content_length = MAX_BYTES + _OVERHEAD_BYTES
    request.max_form_parts = _MAX_PARTS
    if errors := _field_errors():
        raise Problem(400, "invalid_body", "The form has fields that are wrong.", errors=errors)
    form = parse_form(BrandForm)
    files = {name: folder / f"{name}.sent" for name in FILES if name in request.files}
    for name, path in files.items():
        request.files[name].save(path)
    return form, files


def _field_errors() -> list[FieldError]:
    """Return an error for each field that comes twice, or is a file or a text and should not."""
    names = [*request.form.keys(), *request.files.keys()]
    counts = {
        name: len(request.form.getlist(name)) + len(request.files.getlist(name)) for name in names
    }
    errors = [
        _error(name, "repeated_field", "This field comes more than once.")
        for name, count in counts.items()
        if count > 1
    ]
    errors += [
        _error(name, "extra_forbidden", "No file has this name.")
        for name in request.files
        if name not in FILES
    ]
    errors += [
        _error(name, "extra_forbidden", "Must be a file, not text.")
        for name in request.form
        if name in FILES
    ]
    return errors[:_MAX_PARTS]


def _error(field: str, code: str, message: str) -> FieldError:
    return {"field": field[:64], "code": code, "message": message}
