"""Conditions of downloads: evaluated in the order of RFC 9110, before any range is sent."""

from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from worker_testing import problem

Auth = Callable[..., dict[str, str]]
Get = Callable[..., TestResponse]
RANGE = {"Range": "bytes=5-9"}


@pytest.fixture(params=["parts/0", "clips.zip"])
def get(
    request: pytest.FixtureRequest,
    client: FlaskClient,
    auth: Auth,
    finished: tuple[str, bytes],
) -> Get:
    """Download a clip, or the ZIP that it is in."""
    path = f"/tasks/{finished[0]}/{request.param}"

    def call(method: str = "GET", **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = client.open(path, method=method, headers={**auth(), **named}, buffered=True)
        response.close()
        return response

    return call


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("more", [{}, RANGE, {**RANGE, "If-Range": '"another"'}])
def test_another_file_than_the_one_named_is_refused(
    get: Get, method: str, more: dict[str, str]
) -> None:
    """A client that goes on by Range and If-Match would glue two files together."""
    answer = get(method, If_Match='"another", W/"one"', **more)
    assert answer.status_code == 412
    if method == "GET":
        assert problem(answer) == (412, "precondition_failed")


def test_file_that_is_named_is_sent(get: Get) -> None:
    whole = get()
    tag = whole.headers["ETag"]
    for named in ("*", tag, f'"another", {tag}'):
        assert get(If_Match=named).data == whole.data
        part = get(If_Match=named, **RANGE)
        assert (part.status_code, part.data) == (206, whole.data[5:10])
    weak = get(If_Match=f"W/{tag}", **RANGE)
    assert problem(weak) == (412, "precondition_failed")


@pytest.mark.parametrize("more", [{}, RANGE])
def test_file_that_the_caller_has_is_not_sent(get: Get, more: dict[str, str]) -> None:
    tag = get().headers["ETag"]
    for known in (tag, f"W/{tag}", f'"another", {tag}', "*"):
        answer = get(If_None_Match=known, **more)
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == tag
    assert get(If_None_Match='"another"', **more).status_code == (206 if more else 200)


def test_if_range_takes_strong_tags_alone(get: Get) -> None:
    whole = get()
    tag = whole.headers["ETag"]
    assert get(If_Range=tag, **RANGE).status_code == 206
    for other in (f"W/{tag}", '"another"', "another", ""):
        answer = get(If_Range=other, **RANGE)
        assert (answer.status_code, answer.data) == (200, whole.data), other


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_last_bytes_of_a_shorter_file_are_all_of_it(get: Get, method: str) -> None:
    """RFC 9110 §14.1.2."""
    data = get().data
    whole = data if method == "GET" else b""
    for last in (len(data), len(data) + 1, 10**30, "0123456789" * 500):
        answer = get(method, Range=f"bytes=-{last}")
        assert (answer.status_code, answer.data) == (206, whole), str(last)[:40]
        assert answer.headers["Content-Range"] == f"bytes 0-{len(data) - 1}/{len(data)}"
        assert answer.content_length == len(data)
    for none in ("0", "00"):
        assert get(method, Range=f"bytes=-{none}").status_code == 416


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "ranges", ["0-9,20-29", "0-9, 0-9", "9999999999-,0-9", "-5,0-1", "0-9,", "0-1,a-b", "1-0,5-6"]
)
def test_several_ranges_are_ignored(get: Get, method: str, ranges: str) -> None:
    """RFC 9110 §14.2 allows it, and players ask for one range."""
    whole, answer = get(method), get(method, Range=f"bytes={ranges}")
    assert (answer.status_code, answer.data) == (200, whole.data)
    assert answer.content_length == whole.content_length
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("last", ["9" * 19, "18446744073709551615", "9" * 300])
def test_last_byte_may_be_far_after_the_end(get: Get, last: str) -> None:
    whole, answer = get().data, get(Range=f"bytes=5-{last}")
    assert (answer.status_code, answer.data) == (206, whole[5:])


@pytest.mark.parametrize("range_header", ["items=0-5", "seconds=0-"])
def test_unknown_unit_is_ignored(get: Get, range_header: str) -> None:
    whole = get()
    answer = get(Range=range_header)
    assert (answer.status_code, answer.data) == (200, whole.data)


def test_dates_of_a_clip(client: FlaskClient, auth: Auth, finished: tuple[str, bytes]) -> None:
    def get(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with client.get(f"/tasks/{finished[0]}/parts/0", headers={**auth(), **named}) as answer:
            return answer.status_code

    with client.get(f"/tasks/{finished[0]}/parts/0", headers=auth()) as whole:
        modified = parsedate_to_datetime(whole.headers["Last-Modified"])
    before, at, after = (
        format_datetime(modified + timedelta(seconds=each), usegmt=True) for each in (-1, 0, 1)
    )
    assert [get(If_Unmodified_Since=date, **RANGE) for date in (before, at, after)] == [
        *(412, 206),
        206,
    ]
    assert [get(If_Modified_Since=date, **RANGE) for date in (before, at)] == [206, 304]
    assert [get(If_Range=date, **RANGE) for date in (before, at, after)] == [200, 206, 200]
