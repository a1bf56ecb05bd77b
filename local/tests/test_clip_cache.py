"""Clips that nginx keeps: whole ones, named by their hash, only for callers checked."""

import threading
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_testing.waiting import LIMIT_S

if TYPE_CHECKING:
    from conftest import Edge, StartEdge, _Handler

DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
PATH = "/tasks/7/parts/0"


def get(edge: "Edge", path: str = PATH, **headers: str) -> requests.Response:
    return edge.session.get(edge.url + path, headers=headers, timeout=LIMIT_S)


def is_clip(answer: requests.Response) -> bool:
    return answer.status_code == 200 and answer.content == bytes(range(256)) * 4096 * 8


def kept_files(edge: "Edge") -> int:
    """Return how many clips are cached once the last call of the session has ended.

    nginx names the file of a clip when it has sent the last bytes.
    """
    assert get(edge, "/_problem").status_code == 404
    return sum(path.is_file() for path in (edge.folder / "clips").rglob("*"))


@pytest.fixture
def checked(edge: "Edge") -> "Edge":
    """An nginx before a web app that has checked the clip."""
    edge.web.sha256 = edge.tasks.sha256 = DIGEST
    return edge


@pytest.fixture
def kept(checked: "Edge") -> "Edge":
    """An nginx that has the clip in its cache."""
    assert all(is_clip(get(checked)) for _ in range(2))
    assert kept_files(checked) == 1
    checked.tasks.requests.clear()
    return checked


def test_a_clip_is_kept_from_the_second_time_on(checked: "Edge") -> None:
    first = get(checked)
    assert kept_files(checked) == 0
    second = get(checked)
    assert kept_files(checked) == 1
    third = get(checked, **{"X-Request-Id": "third-call"})
    assert all(is_clip(answer) for answer in (first, second, third))
    assert len(checked.tasks.requests) == 2
    assert len(checked.web.requests) == 3
    own = {"Date", "X-Request-Id"}
    for answer in (second, third):
        headers = {name: value for name, value in answer.headers.items() if name not in own}
        assert headers["Accept-Ranges"] == "bytes"
        assert (
            headers.items()
            >= {name: value for name, value in first.headers.items() if name not in own}.items()
        )
    assert third.headers["X-Request-Id"] == "third-call"
    assert third.headers["Cache-Control"] == "private, no-cache"


def test_the_web_app_is_asked_each_time(kept: "Edge") -> None:
    kept.web.sha256 = ""
    kept.tasks.answer = lambda call: call.send(
        404, {"Content-Type": "application/problem+json"}, b"{}"
    )
    assert get(kept).status_code == 404


def test_name_of_a_clip_is_the_one_that_it_has_now(checked: "Edge") -> None:
    checked.web.disposition = checked.tasks.disposition = 'inline; filename="old 01.mp4"'
    names = [get(checked).headers["Content-Disposition"] for _ in range(3)]
    checked.web.disposition = checked.tasks.disposition = 'inline; filename="new 01.mp4"'
    whole, part = get(checked), get(checked, Range="bytes=0-9")
    names += [each.headers["Content-Disposition"] for each in (whole, part)]
    assert names == ['inline; filename="old 01.mp4"'] * 3 + ['inline; filename="new 01.mp4"'] * 2


def test_changed_clip_at_the_same_url_is_fetched_again(kept: "Edge") -> None:
    kept.web.sha256 = kept.tasks.sha256 = OTHER_DIGEST
    assert get(kept).headers["ETag"] == f'"{OTHER_DIGEST}"'
    assert len(kept.tasks.requests) == 1


def test_same_content_at_another_url_is_fetched_again(kept: "Edge") -> None:
    for path in ("/tasks/8/parts/0", "/tasks/7/parts/1"):
        assert is_clip(get(kept, path))
        assert kept.tasks.last["path"] == path


def test_the_query_makes_no_difference(kept: "Edge") -> None:
    assert is_clip(get(kept, PATH + "?x=1"))
    assert kept.tasks.requests == []


def test_another_clip_than_the_one_checked_is_refused_and_not_kept(checked: "Edge") -> None:
    checked.tasks.sha256 = OTHER_DIGEST
    for _ in range(3):
        assert get(checked).status_code == 412
    assert checked.tasks.last["headers"]["if-match"] == f'"{DIGEST}"'
    assert kept_files(checked) == 0


@pytest.mark.parametrize("status", [301, 401, 404, 409, 500, 503])
def test_no_other_answer_is_kept(checked: "Edge", status: int) -> None:
    checked.tasks.answer = lambda call: call.send(status, {"Location": "/"}, b"{}")
    for _ in range(3):
        answer = requests.get(checked.url + PATH, allow_redirects=False, timeout=LIMIT_S)
        assert answer.status_code == status
    checked.tasks.answer = None
    assert is_clip(get(checked))


def test_an_answer_with_a_cookie_is_not_kept(checked: "Edge") -> None:
    checked.tasks.answer = lambda call: call.clip(**{"Set-Cookie": "a=b"})
    for _ in range(3):
        assert is_clip(get(checked))
    assert len(checked.tasks.requests) == 3


def test_truncated_clip_is_not_cached(checked: "Edge") -> None:
    def break_off(call: "_Handler") -> None:
        call.send_response(200)
        call.send_header("Content-Length", "1000000")
        call.send_header("ETag", f'"{DIGEST}"')
        call.end_headers()
        call.wfile.write(b"x" * 500_000)
        call.close_connection = True

    assert is_clip(get(checked))
    checked.tasks.answer = break_off
    for _ in range(2):
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            get(checked)
    assert kept_files(checked) == 0
    checked.tasks.answer = None
    assert is_clip(get(checked))


@pytest.mark.parametrize(
    ("range_header", "wanted"),
    [("bytes=1-3", b"\1\2\3"), ("bytes=256-257", b"\0\1"), ("bytes=-2", b"\xfe\xff")],
)
def test_ranges_of_a_kept_clip(kept: "Edge", range_header: str, wanted: bytes) -> None:
    answer = get(kept, Range=range_header)
    assert (answer.status_code, answer.content) == (206, wanted)
    assert answer.headers["Content-Range"].endswith(f"/{256 * 4096 * 8}")
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert get(kept, Range=range_header, **{"If-Range": f'"{DIGEST}"'}).status_code == 206
    whole = get(kept, Range=range_header, **{"If-Range": f'"{OTHER_DIGEST}"'})
    assert is_clip(whole)
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert kept.tasks.requests == []


def test_the_middle_of_a_clip_is_fetched_alone(checked: "Edge") -> None:
    for _ in range(3):
        answer = get(checked, Range="bytes=1-3", **{"If-Range": f'"{DIGEST}"'})
        assert (answer.status_code, answer.content) == (206, b"\1\2\3")
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert checked.tasks.last["headers"]["range"] == "bytes=1-3"
        assert checked.tasks.last["headers"]["if-range"] == f'"{DIGEST}"'
    assert kept_files(checked) == 0


def test_refusals_by_nginx_itself_are_problems(kept: "Edge") -> None:
    """The web app asks first, so these are answers to a clip that changed in between."""
    long_ago = {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}
    for headers, status, code in (
        ({"Range": "bytes=99999999-"}, 416, "range_not_satisfiable"),
        ({"If-Match": f'"{OTHER_DIGEST}"'}, 412, "precondition_failed"),
        (long_ago, 412, "precondition_failed"),
    ):
        answer = get(kept, **headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_readers_do_not_wait_while_a_clip_is_cached(checked: "Edge") -> None:
    half, first_half_sent = 4 * 1024 * 1024, threading.Event()

    def slow(call: "_Handler") -> None:
        call.send_response(200)
        call.send_header("Content-Length", str(2 * half))
        call.end_headers()
        call.wfile.write(bytes(half))
        first_half_sent.set()
        call.stand_in.release.wait(LIMIT_S)
        call.wfile.write(bytes(half))

    assert is_clip(get(checked))
    checked.tasks.answer = slow
    with requests.get(checked.url + PATH, stream=True, timeout=LIMIT_S) as being_written:
        assert first_half_sent.wait(LIMIT_S)
        checked.tasks.answer = None
        assert is_clip(get(checked))
        checked.tasks.release.set()
        assert len(being_written.content) == 2 * half


def test_the_tasks_service_unavailable_gives_a_problem_before_the_clip_is_kept(
    checked: "Edge",
) -> None:
    def hang_up(call: "_Handler") -> None:
        call.close_connection = True

    checked.tasks.answer = hang_up
    for _ in range(2):
        answer = get(checked)
        assert (answer.status_code, answer.json()["code"]) == (502, "tasks_unavailable")


def test_only_clips_are_cached(edge: "Edge") -> None:
    for path in (PATH, "/tasks", "/health"):
        for _ in range(3):
            assert get(edge, path).ok
    assert kept_files(edge) == 0


def test_cache_of_size_0_is_accepted(start_edge: "StartEdge") -> None:
    assert get(start_edge(CLIP_CACHE_SIZE="0")).ok
