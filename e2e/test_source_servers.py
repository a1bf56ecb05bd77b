"""Servers as they are: they sign links, set cookies, mislabel, ignore If-Range, ask to wait."""

import time
from collections.abc import Callable

import pytest
from blackbox.client import Api

from idrl_testing import samples, site as web_site
from idrl_testing.site import Request, Site

SIGNED = "signed.mp4?sig=a%7Eb%5Fc%2f%2F&e=&x=('*!')"
Serve = Callable[[Site, bytes, bytes], str]


def _first_then(
    first: Callable[[Request], None], then: Callable[[Request], None]
) -> Callable[[Request], None]:
    return lambda request: (first if request.count == 1 else then)(request)


def _requires_cookie(request: Request) -> None:
    if request.headers.get("Cookie") == "FedAuth=abc":
        web_site.whole(request)
    else:
        request.send(302, headers={"Location": request.path, "Set-Cookie": "FedAuth=abc; HttpOnly"})


def _whole_as(status: int, **headers: str) -> Callable[[Request], None]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: request.send(status, request.page.body, fields)


def _redirects(site: Site, video: bytes) -> str:
    """Return the first of ten redirects; each target keeps its escapes."""
    site.add("hop%7E10.mp4?", video)
    for number in range(10):
        end = "?" if number == 9 else ""
        target = web_site.redirects(f"/hop%7E{number + 1}.mp4{end}")
        site.add(f"hop%7E{number}.mp4", answer=target)
    return f"{site.url}/hop%7E0.mp4"


def _replaced(site: Site, video: bytes, other: bytes) -> str:
    """Serve half of another file first; its rest is then requested, and If-Range ignored."""

    def half(request: Request) -> None:
        etag = {"ETag": '"old"'}
        request.send(200, other[: len(other) // 2], etag, length_bytes=len(other))
        request.close_connection = True

    return site.add("replaced.mp4", video, _first_then(half, web_site.whole))


GOOD: dict[str, Serve] = {
    "signed": lambda site, video, _: site.add(SIGNED, video),
    "empty query": lambda site, video, _: site.add("empty.mp4?", video),
    "cookie": lambda site, video, _: site.add("cookie.mp4", video, _requires_cookie),
    "aws-chunked": lambda site, video, _: site.add(
        "aws.mp4", video, _whole_as(200, Content_Encoding="aws-chunked")
    ),
    "labelled gzip": lambda site, video, _: site.add(
        "gzip.mp4", video, _whole_as(200, Content_Encoding="gzip")
    ),
    "whole as 206": lambda site, video, _: site.add(
        "partial.mp4", video, _whole_as(206, Content_Range=f"bytes 0-{len(video) - 1}/{len(video)}")
    ),
    "ten redirects": lambda site, video, _: _redirects(site, video),
    "replaced meanwhile": _replaced,
    "busy for a second": lambda site, video, _: site.add(
        "busy.mp4",
        video,
        _first_then(
            lambda request: request.send(429, headers={"Retry-After": "1"}), web_site.whole
        ),
    ),
}


@pytest.fixture(scope="module")
def task_ids(
    api: Api, site: Site, short_video: bytes, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The task of each source; all are posted at once."""
    target = tmp_path_factory.mktemp("other") / "other.mp4"
    other = samples.encode(target, *samples.picture("640x360", 4), *samples.FAST)
    return {
        name: api.submit(serve(site, short_video, other))["task_id"] for name, serve in GOOD.items()
    }


@pytest.mark.parametrize("name", GOOD)
def test_source_is_downloaded(api: Api, task_ids: dict[str, str], name: str) -> None:
    task = api.finish(task_ids[name])
    assert (task["status"], task["error"]) == ("done", None)
    assert [part["status"] for part in task["parts"]] == ["done"]
    # The short video, not the one that half of was sent before it.
    assert (task["source"]["width"], task["source"]["height"]) == (320, 180)


def test_retry_after_is_kept_without_holding_a_worker(
    api: Api, site: Site, short_video: bytes
) -> None:
    asked_at: list[float] = []

    def busy(request: Request) -> None:
        asked_at.append(time.monotonic())
        if request.count == 1:
            request.send(503, headers={"Retry-After": "8"})
        else:
            web_site.whole(request)

    task = api.submit(site.add("busy-for-8-s.mp4", short_video, busy))
    assert api.finish(task["task_id"])["status"] == "done"
    assert asked_at[1] - asked_at[0] >= 8


def test_source_that_is_unavailable_for_ten_seconds(
    api: Api, site: Site, short_video: bytes
) -> None:
    unavailable_until: list[float] = []

    def answer_503_at_first(request: Request) -> None:
        unavailable_until[:] = unavailable_until or [time.monotonic() + 10]
        if time.monotonic() < unavailable_until[0]:
            request.close_connection = True
        else:
            web_site.whole(request)

    task = api.submit(site.add("away.mp4", short_video, answer_503_at_first))
    assert api.finish(task["task_id"])["status"] == "done"
