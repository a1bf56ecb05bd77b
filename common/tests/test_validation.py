"""Bodies and queries become models, or a problem that names each wrong field."""

from datetime import datetime
from io import BytesIO
from typing import Annotated

import pytest
from flask import Flask
from flask.ctx import RequestContext
from hypothesis import given, strategies as st
from pydantic import Field, ValidationInfo, field_validator
from werkzeug.exceptions import RequestEntityTooLarge

from idrl_common.problems import Problem
from idrl_common.validation import (
    NO_TIME,
    Body,
    CleanStr,
    Query,
    parse_body,
    parse_query,
    read_body,
    validate_each,
)


class Sample(Body):
    name: CleanStr = Field(max_length=10)
    number: int = 1


class Listing(Query):
    max: int = Field(20, ge=1, le=1000)
    share: Annotated[float, Field(ge=-1)] = 0.5


class Twice(Body):
    first: str = Field(min_length=3)
    second: str

    @field_validator("second")
    @classmethod
    def _check_repeated(cls, value: str, info: ValidationInfo) -> str:
        assert isinstance(info.context, dict)
        return f"{value}={info.context['first']}"


def parse(app: Flask, data: bytes, content_type: str | None = "application/json") -> Sample:
    with app.test_request_context("/", method="POST", data=data, content_type=content_type):
        return parse_body(Sample)


def fields(problem: Problem) -> list[tuple[str, str]]:
    return [(error["field"], error["code"]) for error in problem.errors]


def test_a_body_becomes_a_model(app: Flask) -> None:
    assert parse(app, b'{"name": "x", "number": 2}') == Sample(name="x", number=2)


def test_byte_order_mark_before_the_body_is_ignored(app: Flask) -> None:
    assert parse(app, b'\xef\xbb\xbf{"name": "x"}').name == "x"
    with pytest.raises(Problem, match="not valid JSON"):
        parse(app, b'{"name": \xef\xbb\xbf"x"}')


def test_a_charset_is_no_other_type(app: Flask) -> None:
    assert parse(app, '{"name": "é"}'.encode(), "application/json; charset=utf-8").name == "é"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "malformed_json"),
        (b'{"name": "x",}', "malformed_json"),
        (b'{"name": "x"} more', "malformed_json"),
        (b'{"name": "\xff"}', "malformed_json"),
        (b'{"number": ' + b"9" * 900, "malformed_json"),
        (b"[]", "invalid_body"),
        (b"1", "invalid_body"),
    ],
)
def test_a_body_that_is_no_object(app: Flask, data: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        parse(app, data)
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        (b"{}", [("name", "missing")]),
        (b'{"name": null}', [("name", "string_type")]),
        (b'{"name": 1}', [("name", "string_type")]),
        (b'{"name": "x", "number": "2"}', [("number", "int_type")]),
        (b'{"name": "x", "number": true}', [("number", "int_type")]),
        (b'{"name": "12345678901"}', [("name", "string_too_long")]),
        (b'{"name": "a\\u0000b"}', [("name", "string_nul")]),
        (b'{"name": "x", "id": 1}', [("id", "extra_forbidden")]),
        (
            b'{"number": "x", "other": 1}',
            [("name", "missing"), ("number", "int_type"), ("other", "extra_forbidden")],
        ),
    ],
)
def test_each_wrong_field_is_named(app: Flask, data: bytes, errors: list[tuple[str, str]]) -> None:
    with pytest.raises(Problem) as caught:
        parse(app, data)
    assert (caught.value.status, caught.value.code) == (400, "invalid_body")
    assert fields(caught.value) == errors


@pytest.mark.parametrize("content_type", [None, "text/plain", "text/json", "multipart/form-data"])
def test_only_json_is_taken(app: Flask, content_type: str | None) -> None:
    with pytest.raises(Problem) as caught:
        parse(app, b'{"name": "x"}', content_type)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_media_type")


class Words(Body):
    nested: Sample
    text: CleanStr | None = Field(None, max_length=2)
    short: CleanStr | None = Field(None, min_length=2)
    at: datetime | None = Field(None, strict=False)

    @field_validator("at")
    @classmethod
    def _refuse(cls, _: datetime) -> None:
        raise ValueError("Too early.")


LEAP_SECOND = "2026-12-31T23:59:60Z"
FITTING: dict[str, object] = {"nested": {"name": "x"}}
MESSAGES: list[tuple[dict[str, object], str, str]] = [
    ({"nested": []}, "model_type", "Must be a JSON object."),
    ({"text": "abc"}, "too_long", "Must have at most 2 characters."),
    ({"short": "a"}, "too_short", "Must have at least 2 characters."),
    ({"at": LEAP_SECOND}, "datetime_from_date_parsing", NO_TIME),
    ({"at": "2026-12-31T23:59:00Z"}, "value_error", "Too early."),
]


@pytest.mark.parametrize(("wrong", "code", "message"), MESSAGES)
def test_messages_speak_of_json_and_characters(
    app: Flask, wrong: dict[str, object], code: str, message: str
) -> None:
    """They said "a valid dictionary or instance of Sample", and of a text "at most 2 items"."""
    body = {**FITTING, **wrong}
    with app.test_request_context("/", method="POST", json=body), pytest.raises(Problem) as caught:
        parse_body(Words)
    (error,) = caught.value.errors
    assert (error["code"], error["message"]) == (code, message)


def test_a_value_that_is_wrong_is_not_repeated(app: Flask) -> None:
    with pytest.raises(Problem) as caught:
        parse(app, b'{"name": "secret-secret"}')
    assert "secret" not in str(caught.value.errors)


def test_a_validator_sees_the_whole_body(app: Flask) -> None:
    with app.test_request_context("/", method="POST", json={"first": "abc", "second": "x"}):
        assert parse_body(Twice).second == "x=abc"


def test_at_most_20_errors_are_listed_with_short_names(app: Flask) -> None:
    many = {f"{number:0100}": 1 for number in range(1000)}
    with app.test_request_context("/", query_string=many), pytest.raises(Problem) as caught:
        parse_query(Listing)
    assert [error["field"] for error in caught.value.errors] == ["0" * 63 + "…"] * 20


def test_more_than_1000_errors_are_counted(app: Flask) -> None:
    """To describe each would take a second, in which no other thread runs."""
    many = {str(number): 1 for number in range(1001)}
    with app.test_request_context("/", query_string=many), pytest.raises(Problem) as caught:
        parse_query(Listing)
    assert [(each["field"], each["code"]) for each in caught.value.errors] == [
        ("body", "too_many_errors")
    ]
    assert caught.value.errors[0]["message"].startswith("1001 fields")


def test_each_item_has_at_most_one_error() -> None:
    unknown = {str(number): 1 for number in range(21)}
    items: list[dict[str, object]] = [
        {"name": "x", **dict(list(unknown.items())[:20])},
        {"name": "x", **unknown},
        {"name": "x"},
    ]
    valid, errors = validate_each(Sample, items, "items")
    assert list(valid) == [2]
    assert [(each["field"], each["code"]) for each in errors] == [
        ("items.0.0", "extra_forbidden"),
        ("items.1.body", "too_many_errors"),
    ]


class Unbounded(Body):
    text: str


class UnboundedQuery(Query):
    text: str


def test_string_without_max_length_has_a_default_bound(app: Flask) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    with app.test_request_context("/", method="POST", json={"text": "x" * 4097}):
        with pytest.raises(Problem) as caught:
            parse_body(Unbounded)
        assert fields(caught.value) == [("text", "string_too_long")]
    with app.test_request_context("/", query_string={"text": "x" * 4097}):
        with pytest.raises(Problem) as caught:
            parse_query(UnboundedQuery)
        assert fields(caught.value) == [("text", "string_too_long")]


@given(data=st.binary(max_size=900))
def test_any_body_is_parsed_or_refused(data: bytes) -> None:
    app = Flask("sample")
    try:
        parse(app, data)
    except Problem as problem:
        assert problem.code in {"malformed_json", "invalid_body"}  # noqa: PT017 # any outcome but another exception


# How a server says that the body was sent in chunks, and that it finds the end itself.
CHUNKED = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}


def in_chunks(app: Flask, size_bytes: int) -> RequestContext:
    return app.test_request_context(
        "/", method="POST", input_stream=BytesIO(b"x" * size_bytes), environ_base=CHUNKED
    )


@pytest.mark.parametrize("size_bytes", [0, 999])
def test_a_body_below_the_limit_is_whole(app: Flask, size_bytes: int) -> None:
    with app.test_request_context("/", method="POST", data=b"x" * size_bytes):
        assert len(read_body()) == size_bytes
    with in_chunks(app, size_bytes):
        assert len(read_body()) == size_bytes


@pytest.mark.parametrize("size_bytes", [1001, 5000])
def test_a_body_over_the_limit_is_refused(app: Flask, size_bytes: int) -> None:
    with (
        app.test_request_context("/", method="POST", data=b"x" * size_bytes),
        pytest.raises(RequestEntityTooLarge),
    ):
        read_body()
    with in_chunks(app, size_bytes), pytest.raises(RequestEntityTooLarge):
        read_body()


def parse_listing(app: Flask, query: str) -> Listing:
    with app.test_request_context(f"/?{query}"):
        return parse_query(Listing)


@pytest.mark.parametrize(
    ("query", "most"), [("", 20), ("max=1", 1), ("max=1000", 1000), ("max=0&max=7", 7)]
)
def test_a_query_becomes_a_model(app: Flask, query: str, most: int) -> None:
    assert parse_listing(app, query).max == most


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("max=0", ("max", "greater_than_equal")),
        ("max=-1", ("max", "greater_than_equal")),
        ("max=1000000000", ("max", "less_than_equal")),
        ("max=abc", ("max", "int_parsing")),
        ("max=", ("max", "int_parsing")),
        ("max=1_0", ("max", "int_parsing")),
        ("max=%2B5", ("max", "int_parsing")),
        ("max=+5", ("max", "int_parsing")),
        ("max=5%20", ("max", "int_parsing")),
        ("max=5%C2%A0", ("max", "int_parsing")),
        ("max=5%0A", ("max", "int_parsing")),
        ("max=5.0", ("max", "int_parsing")),
        ("max=%D9%A5", ("max", "int_parsing")),
        ("max=" + "9" * 30, ("max", "less_than_equal")),
        ("share=0_1", ("share", "float_parsing")),
        ("share=%2B1", ("share", "float_parsing")),
        ("share=+1", ("share", "float_parsing")),
        ("share=1%20", ("share", "float_parsing")),
        ("share=%D9%A1", ("share", "float_parsing")),
        ("share=inf", ("share", "float_parsing")),
        ("share=nan", ("share", "float_parsing")),
        ("most=1", ("most", "extra_forbidden")),
    ],
)
def test_a_wrong_query_is_refused(app: Flask, query: str, error: tuple[str, str]) -> None:
    with pytest.raises(Problem) as caught:
        parse_listing(app, query)
    assert (caught.value.status, caught.value.code, fields(caught.value)) == (
        400,
        "invalid_query",
        [error],
    )


@pytest.mark.parametrize(
    ("query", "most", "share"),
    [
        ("max=005&share=00.5", 5, 0.5),
        ("share=.25", 20, 0.25),
        ("share=1.&max=7", 7, 1.0),
        ("share=-2.5e-1", 20, -0.25),
        ("share=1E%2B2", 20, 100.0),
    ],
)
def test_a_plain_number_is_taken(app: Flask, query: str, most: int, share: float) -> None:
    listing = parse_listing(app, query)
    assert (listing.max, listing.share) == (most, share)
