"""Status codes and Retry-After: final, retried at once, or worth another download later."""

import os
import socket
import time

import pytest
from fetching_testing import Exchange, Fetcher, Site

BODY = os.urandom(300_000)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "source_not_found"),
        (410, "source_not_found"),
        (401, "source_refused"),
        (403, "source_refused"),
        (400, "source_refused"),
        (451, "source_refused"),
        (204, "source_refused"),
        (304, "source_refused"),
    ],
)
def test_final_status_is_requested_once(site: Site, fetch: Fetcher, status: int, code: str) -> None:
    failure = fetch.fails(
        site.on("/v.mp4", lambda x: x.head(status, Content_Length=0)) + "?token=secret"
    )
    assert failure.code == code
    assert str(status) in str(failure)
    assert not failure.retryable
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [{"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}, {"Accept_Ranges": "bytes"}],
)
def test_whole_file_with_status_206_is_taken(
    site: Site, fetch: Fetcher, headers: dict[str, str]
) -> None:
    assert fetch(site.on("/v.mp4", lambda x: x.reply(BODY, 206, **headers))).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY
    assert "range" not in site.requests[0].headers


def test_download_that_began_with_206_is_resumed(site: Site, fetch: Fetcher) -> None:
    half = len(BODY) // 2

    def breaks(x: Exchange) -> None:
        span = f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
        x.head(206, Content_Length=len(BODY), Content_Range=span, ETag='"1"')
        x.send(BODY[:half])

    span = f"bytes {half}-{len(BODY) - 1}/{len(BODY)}"
    rest = lambda x: x.reply(BODY[half:], 206, Content_Range=span, ETag='"1"')
    assert fetch(site.on("/v.mp4", breaks, rest)).resumed == 1
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Range": f"bytes 1-{len(BODY)}/{len(BODY) + 1}"},
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY) + 1}"},
        {"Content_Type": "multipart/byteranges; boundary=x"},
    ],
)
def test_unrequested_part_of_a_file_is_refused(
    site: Site, fetch: Fetcher, headers: dict[str, str]
) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(BODY, 206, **headers))
    assert fetch.fails(url).code == "source_refused"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429])
def test_transient_status_is_retried(site: Site, fetch: Fetcher, status: int) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(b"later", status), lambda x: x.reply(BODY))
    assert fetch(url).size_bytes == len(BODY)
    assert len(site.requests) == 2


def test_persistent_500_is_transient(site: Site, fetch: Fetcher) -> None:
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.reply(b"later", 500)))
    assert (failure.code, failure.retryable) == ("source_unavailable", True)
    assert failure.retry_after_s is None
    assert len(site.requests) == 4


NOW = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize("status", [503, 429, 425, 408, 500, 202, 403])
@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120),
        ("900", 900),
        ("Wed, 21 Oct 2015 07:30:00 GMT", 120),
        ("Wednesday, 21-Oct-15 07:30:00 GMT", 120),
        ("Wed Oct 21 07:30:00 2015", 120),
    ],
)
def test_retry_after_ends_the_download_and_is_in_the_failure(
    site: Site, fetch: Fetcher, status: int, value: str, wait_s: float | None
) -> None:
    """The server's clock is years behind ours: its own Date is what the date is compared with."""
    url = site.on("/v.mp4", lambda x: x.reply(b"", status, Retry_After=value, Date=NOW))
    failure = fetch.fails(url)
    assert (failure.code, failure.retryable) == ("source_unavailable", True)
    assert failure.retry_after_s == wait_s
    assert len(site.requests) == 1


@pytest.mark.parametrize("value", ["901", "Wed, 21 Oct 2099 07:28:00 GMT", "9" * 400])
def test_retry_after_beyond_the_bound_is_final(site: Site, fetch: Fetcher, value: str) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(b"", 503, Retry_After=value))
    failure = fetch.fails(url)
    assert (failure.code, failure.retryable) == ("source_unavailable", False)
    assert "900 s" in failure.message
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "value",
    ["0", "soon", "-1", "1.5", "Wed, 99 Foo 2099", "", "\xb2", "Wed, 21 Oct 2015 07:28:00 GMT"],
)
def test_retry_after_without_meaning_is_ignored(site: Site, fetch: Fetcher, value: str) -> None:
    later = lambda x: x.reply(b"", 503, Retry_After=value)
    assert fetch(site.on("/v.mp4", later, lambda x: x.reply(BODY))).size_bytes == len(BODY)


def test_short_retry_after_is_waited_for_and_not_shortened(site: Site, fetch: Fetcher) -> None:
    at = []

    def later(x: Exchange) -> None:
        at.append(time.monotonic())
        x.reply(b"", 503, Retry_After=1)

    def now(x: Exchange) -> None:
        at.append(time.monotonic())
        x.reply(BODY)

    assert fetch(site.on("/v.mp4", later, now)).size_bytes == len(BODY)
    assert at[1] - at[0] >= 1


def test_partial_download_waits_longer_for_retry_after(site: Site, fetch: Fetcher) -> None:
    half = len(BODY) // 2

    def breaks(x: Exchange) -> None:
        x.head(Content_Length=len(BODY), ETag='"1"')
        x.send(BODY[:half])

    span = f"bytes {half}-{len(BODY) - 1}/{len(BODY)}"
    rest = lambda x: x.reply(BODY[half:], 206, Content_Range=span, ETag='"1"')
    url = site.on("/v.mp4", breaks, lambda x: x.reply(b"", 503, Retry_After=1), rest)
    assert fetch(url, max_pause_s=0.1, max_backoff_s=5).resumed == 1
    url = site.on("/v.mp4", breaks, lambda x: x.reply(b"", 503, Retry_After=6))
    assert fetch.fails(url, max_pause_s=0.1, max_backoff_s=5).retry_after_s == 6


def test_refused_connection_is_transient(fetch: Fetcher) -> None:
    fetch.allow_hosts = {"127.0.0.1"}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # so that no other process gets the port, and not listening
        port = unused.getsockname()[1]
        failure = fetch.fails(f"http://127.0.0.1:{port}/v.mp4?token=secret")
    assert (failure.code, failure.retryable) == ("source_unavailable", True)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_connection_that_always_breaks_is_transient(site: Site, fetch: Fetcher, how: str) -> None:
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.reset() if how == "reset" else None))
    assert (failure.code, failure.retryable) == ("source_unavailable", True)
    assert len(site.requests) == 4


@pytest.mark.parametrize("cut", ["", "Content-Length: 300000\r\n", "Content-Len"])
def test_answer_cut_off_within_its_headers_is_retried(site: Site, fetch: Fetcher, cut: str) -> None:
    """Without its length the file would seem to be empty, and to end there."""

    def begun(x: Exchange) -> None:
        x.send(f"HTTP/1.1 200 OK\r\n{cut}".encode())

    assert fetch(site.on("/v.mp4", begun, lambda x: x.reply(BODY))).size_bytes == len(BODY)
    failure = fetch.fails(site.on("/cut.mp4", begun))
    assert (failure.code, failure.retryable) == ("source_unavailable", True)


def test_interim_answer_is_no_status_of_the_file(site: Site, fetch: Fetcher) -> None:
    def answer_early(x: Exchange) -> None:
        x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        x.reply(BODY)

    assert fetch(site.on("/v.mp4", answer_early)).size_bytes == len(BODY)
    assert len(site.requests) == 1
