"""Bodies and queries: parsed into a model, or refused with the list of fields that are wrong."""

import codecs
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from flask import request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticKnownError, from_json
from werkzeug.exceptions import RequestEntityTooLarge

from idrl_common.problems import FieldError, Problem

Model = TypeVar("Model", bound=BaseModel)

# A body of nothing but unknown fields must not be answered with a larger one.
_MAX_FIELD_ERRORS = 20
# pydantic describes all errors or none, at some 20 µs each, while it holds the GIL.
_MAX_DESCRIBED_ERRORS = 1000
_MAX_DESCRIBED_ERRORS_OF_ITEM = 20
_MAX_FIELD_NAME_LENGTH = 64
_NO_OBJECT = "Must be a JSON object."
NO_TIME = "Must be a time such as 2026-01-31T12:00:00Z."
# For strings without a `max_length` of their own: validators that take more than linear time must
# never see more.
_MAX_STRING_LENGTH = 4096
# Letters, marks and a symbol that show nothing, though Unicode calls them printable: a combining
# grapheme joiner, Hangul fillers, Khmer vowels without a form, Mongolian selectors, blank Braille.
INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0]")


def _no_nul(value: str) -> str:
    if "\x00" in value:  # valid in JSON, but PostgreSQL has no such text
        raise PydanticCustomError("string_nul", "Must not contain a NUL character.")
    return value


def is_blank(text: str) -> bool:
    """Return whether the text shows nothing: spaces, control and invisible characters alone."""
    return not any(char.isprintable() and char != " " for char in INVISIBLE.sub("", text))


def _not_blank(value: str) -> str:
    if is_blank(value):
        raise PydanticCustomError("string_too_short", "Must have a visible character.")
    return value


CleanStr = Annotated[str, AfterValidator(_no_nul)]
# For names that people choose by.
NOT_BLANK = AfterValidator(_not_blank)


def _as_int(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON knows numbers only: 3.0 is the integer 3 (JSON Schema, 4.2.3).
JsonInt = Annotated[int, BeforeValidator(_as_int)]


class Body(BaseModel):
    """A JSON body: unknown fields are refused, and a number is not a string."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        str_max_length=_MAX_STRING_LENGTH,
    )


# How numbers are written as text, from the annotation of the field. pydantic itself also takes
# `1_0`, `+5`, ` 5` and `5.0` for an integer.
_NUMBERS: dict[object, tuple[Literal["int_parsing", "float_parsing"], re.Pattern[str]]] = {
    int: ("int_parsing", re.compile(r"-?[0-9]+")),
    float: (
        "float_parsing",
        re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"),
    ),
}


class Query(BaseModel):
    """The query of the URL, or a form's fields: unknown parameters are refused."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, str_max_length=_MAX_STRING_LENGTH
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if annotation in _NUMBERS:
            error_type, pattern = _NUMBERS[annotation]
            if not isinstance(value, str) or pattern.fullmatch(value) is None:
                raise PydanticKnownError(error_type)
        return value


def read_body() -> bytes:
    """Return the request's body as it came; raise RequestEntityTooLarge over the app's limit."""
    data = request.get_data()
    if request.content_length is None and len(data) == request.max_content_length:
        # Werkzeug only stops reading a chunked body here, and says nothing.
        raise RequestEntityTooLarge
    return data


def parse_body(model: type[Model]) -> Model:
    """Return the request's JSON body as `model`.

    Raise a Problem: 415, 400 malformed_json or invalid_body.
    """
    if request.mimetype != "application/json":
        raise Problem(415, "unsupported_media_type", "Send the body as application/json.")
    try:
        # Editors of Windows begin files with a byte order mark, which RFC 8259 allows to ignore.
        body = read_body().removeprefix(codecs.BOM_UTF8)
        # This parser bounds how deep a body nests and how long a number is; Python's own does not
        # refuse as cleanly.
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, "malformed_json", "The body is not valid JSON.") from error
    if not isinstance(data, dict):
        raise Problem(400, "invalid_body", "The body must be a JSON object.")
    return _validate(model, data, "invalid_body", "The body has fields that are missing or wrong.")


def parse_form(model: type[Model]) -> Model:
    """Return the fields besides the files of a multipart body; raise a 400 Problem invalid_body."""
    detail = "The form has fields that are missing or wrong."
    return _validate(model, request.form.to_dict(), "invalid_body", detail)


def parse_query(model: type[Model]) -> Model:
    """Return the request's query as `model`; of a repeated parameter the last one counts.

    Raise a 400 Problem invalid_query.
    """
    data = {name: values[-1] for name, values in request.args.lists()}
    return _validate(model, data, "invalid_query", "The query has parameters that are wrong.")


def validate_each(
    model: type[Model], items: Sequence[object], field: str
) -> tuple[dict[int, Model], list[FieldError]]:
    """Return the valid items by index, and the first error of each other one, named by index."""
    valid: dict[int, Model] = {}
    errors: list[FieldError] = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            name = f"{field}.{index}"
            errors.append({"field": name, "code": "dict_type", "message": _NO_OBJECT})
            continue
        try:
            valid[index] = model.model_validate(item)
        except ValidationError as error:
            first = _field_errors(error, _MAX_DESCRIBED_ERRORS_OF_ITEM)[0]
            errors.append({**first, "field": f"{field}.{index}.{first['field']}"})
    return valid, errors


def validate_field(model: type[Model], value: Mapping[str, object], field: str) -> Model:
    """Validate a merged value as `model`; raise a 400 Problem whose errors are below `field`."""
    detail = "The body has fields that are missing or wrong."
    try:
        return _validate(model, value, "invalid_body", detail)
    except Problem as problem:
        for error in problem.errors:
            name = error["field"]
            error["field"] = field if name == "body" else f"{field}.{name}"
        raise


def _validate(model: type[Model], data: Mapping[str, object], code: str, detail: str) -> Model:
    try:
        # The context lets a validator compare two fields even when the other one is wrong.
        return model.model_validate(data, context=data)
    except ValidationError as error:
        errors = _field_errors(error, _MAX_DESCRIBED_ERRORS)
        raise Problem(400, code, detail, errors=errors) from error


def _field_errors(error: ValidationError, max_described: int) -> list[FieldError]:
    """Return the first errors; one that counts them where there are more than `max_described`."""
    if (count := error.error_count()) > max_described:
        message = f"{count} fields are missing or wrong."
        return [{"field": "body", "code": "too_many_errors", "message": message}]
    details = error.errors(include_url=False, include_input=False)
    return [_field_error(each) for each in details[:_MAX_FIELD_ERRORS]]


def _field_error(error: ErrorDetails) -> FieldError:
    name = ".".join(str(part) for part in error["loc"]) or "body"
    if len(name) > _MAX_FIELD_NAME_LENGTH:
        name = f"{name[: _MAX_FIELD_NAME_LENGTH - 1]}…"
    return {"field": name, "code": error["type"], "message": _message(error)}


def _message(error: ErrorDetails) -> str:
    """Return pydantic's message, except where it speaks of Python, or of a text as of a list."""
    code, bounds = error["type"], error.get("ctx", {})
    if code in ("dict_type", "model_type"):
        return _NO_OBJECT
    if bounds.get("field_type") == "Value":  # a list is called "List"
        if code == "too_short":
            return f"Must have at least {bounds['min_length']} characters."
        return f"Must have at most {bounds['max_length']} characters."
    if code.startswith("datetime_"):
        return NO_TIME
    return error["msg"].removeprefix("Value error, ")
