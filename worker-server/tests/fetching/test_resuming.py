"""A broken download is resumed when the file is still the same one, and started over otherwise."""

import os

import pytest
from fetching_testing import Exchange, Fetcher, Handler, Site

from worker_server.fetching.resuming import continues, is_whole, range_headers, strong_validator

BODY = os.urandom(400_000)
HALF = len(BODY) // 2


def whole(etag: str | None = '"1"', body: bytes = BODY) -> Handler:
    """Answer with the whole file."""
    return lambda x: x.reply(body, **({"ETag": etag} if etag else {}))


def breaks(*, how: str = "close", **headers: str) -> Handler:
    """Promise the whole file and break off in the middle."""

    def answer(x: Exchange) -> None:
        x.head(Content_Length=len(BODY), **(headers or {"ETag": '"1"'}))
        x.send(BODY[:HALF])
        if how == "reset":
            x.reset()

    return answer


def rest(etag: str = '"1"', **changed: str) -> Handler:
    """Answer a range request with the rest of the file."""

    def answer(x: Exchange) -> None:
        start = int(x.headers["range"].removeprefix("bytes=").removesuffix("-"))
        headers = {
            "Content_Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}",
            "ETag": etag,
        } | changed
        x.reply(BODY[start:], 206, **headers)

    return answer


@pytest.mark.parametrize("how", ["close", "reset"])
def test_resumes_after_a_broken_connection(site: Site, fetch: Fetcher, how: str) -> None:
    done = fetch(site.on("/v.mp4", breaks(how=how), rest()))
    assert (done.size_bytes, done.etag) == (len(BODY), '"1"')
    assert fetch.path.read_bytes() == BODY
    first, second = site.requests
    assert "range" not in first.headers
    # A reset throws away what was on its way, so fewer bytes may have come than were sent.
    if "range" in second.headers:
        assert done.resumed == 1
        assert second.headers["if-range"] == '"1"'
    assert done.resumed == 1 or how == "reset"


def test_resumes_a_chunked_body(site: Site, fetch: Fetcher) -> None:
    def breaks_off(x: Exchange) -> None:
        x.head(Transfer_Encoding="chunked", ETag='"1"')
        x.send(b"%x\r\n%s\r\n" % (HALF, BODY[:HALF]))

    assert fetch(site.on("/v.mp4", breaks_off, rest())).resumed == 1
    assert fetch.path.read_bytes() == BODY
    assert site.requests[1].headers["range"] == f"bytes={HALF}-"


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_rest_that_is_shorter_than_its_range_is_no_end(
    site: Site, fetch: Fetcher, framing: str
) -> None:
    def short_rest(x: Exchange) -> None:
        range_header = {"Content_Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}", "ETag": '"1"'}
        if framing == "chunked":
            x.head(206, Transfer_Encoding="chunked", **range_header)
            x.send(b"64\r\n" + BODY[HALF : HALF + 100] + b"\r\n0\r\n\r\n")
        else:
            x.reply(BODY[HALF : HALF + 100], 206, **range_header)

    last = rest() if framing == "chunked" else whole()
    assert fetch(site.on("/v.mp4", breaks(), short_rest, last)).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_whole_file_that_is_shorter_than_its_range_is_no_end(
    site: Site, fetch: Fetcher, framing: str
) -> None:
    """Some servers answer 206 to a request without a range."""

    def short(x: Exchange) -> None:
        span = f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
        if framing == "chunked":
            x.head(206, Transfer_Encoding="chunked", Content_Range=span)
            x.send(b"64\r\n" + BODY[:100] + b"\r\n0\r\n\r\n")
        else:
            x.reply(BODY[:100], 206, Content_Range=span)

    assert fetch(site.on("/v.mp4", short, whole())).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY


def test_chunked_rest_that_is_shorter_than_its_range_is_no_end(site: Site, fetch: Fetcher) -> None:
    """No answer declares a length, and the second one ends well-formed."""

    def chunked(x: Exchange, body: bytes, end: bytes, status: int = 200, **more: str) -> None:
        x.head(status, Transfer_Encoding="chunked", ETag='"1"', **more)
        x.send(b"%x\r\n%s\r\n%s" % (len(body), body, end))

    span = f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"
    begins = lambda x: chunked(x, BODY[:HALF], b"")
    short = lambda x: chunked(x, BODY[HALF:][:9], b"0\r\n\r\n", 206, Content_Range=span)
    assert fetch(site.on("/v.mp4", begins, short, rest())).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY


MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"
LATER = "Wed, 21 Oct 2015 07:30:00 GMT"


def dated_rest(**headers: str) -> Handler:
    """Answer a range request with the rest of a file that has no ETag."""

    def answer(x: Exchange) -> None:
        start = int(x.headers["range"].removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        x.reply(BODY[start:], 206, Content_Range=span, **headers)

    return answer


def test_resumes_by_a_date_that_is_strong(site: Site, fetch: Fetcher) -> None:
    begin = breaks(Last_Modified=MODIFIED, Date=LATER)
    assert fetch(site.on("/v.mp4", begin, dated_rest(Last_Modified=MODIFIED))).resumed == 1
    assert site.requests[1].headers["if-range"] == MODIFIED
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize(
    "headers",
    [
        {"Last_Modified": LATER},  # the server ignores If-Range: this is the rest of another file
        {"Server": "x"},
        {"Last_Modified": MODIFIED, "ETag": '"1"'},
    ],
)
def test_starts_over_when_the_rest_has_another_date(
    site: Site, fetch: Fetcher, headers: dict[str, str]
) -> None:
    begin = breaks(Last_Modified=MODIFIED, Date=LATER)
    assert fetch(site.on("/v.mp4", begin, dated_rest(**headers), whole())).resumed == 0
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize("etag", [None, 'W/"1"', '"2"', "1"])
def test_rest_of_another_file_is_never_appended(
    site: Site, fetch: Fetcher, etag: str | None
) -> None:
    """The server ignores If-Range and sends a range of the new file, without the old ETag."""
    changed = os.urandom(len(BODY))

    def other_rest(x: Exchange) -> None:
        span = f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"
        x.reply(changed[HALF:], 206, Content_Range=span, **({"ETag": etag} if etag else {}))

    url = site.on("/v.mp4", breaks(), other_rest, whole('"2"', changed))
    assert fetch(url).resumed == 0
    assert fetch.path.read_bytes() == changed


def test_compressed_rest_is_never_appended(site: Site, fetch: Fetcher) -> None:
    url = site.on("/v.mp4", breaks(), rest(Content_Encoding="gzip"), whole())
    assert fetch(url).resumed == 0
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": 'W/"1"'},
        {"Server": "x"},
        {"ETag": 'W/"1"', "Last_Modified": MODIFIED, "Date": LATER},
        {"Last_Modified": MODIFIED},
        {"Last_Modified": MODIFIED, "Date": "Wed, 21 Oct 2015 07:28:59 GMT"},
    ],
)
def test_starts_over_without_a_strong_validator(
    site: Site, fetch: Fetcher, headers: dict[str, str]
) -> None:
    assert fetch(site.on("/v.mp4", breaks(**headers), whole())).resumed == 0
    assert fetch.path.read_bytes() == BODY
    assert "range" not in site.requests[1].headers


@pytest.mark.parametrize("size_bytes", [1000, HALF, len(BODY), 600_000])
def test_starts_over_when_the_file_changed(site: Site, fetch: Fetcher, size_bytes: int) -> None:
    changed = os.urandom(size_bytes)
    done = fetch(site.on("/v.mp4", breaks(), whole('"2"', changed)))
    assert (done.resumed, done.etag) == (0, '"2"')
    assert fetch.path.read_bytes() == changed


@pytest.mark.parametrize(
    "wrong",
    [
        {"etag": '"2"'},
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"},
        {"Content_Range": f"bytes {HALF}-{len(BODY) - 2}/{len(BODY)}"},
        {"Content_Range": f"bytes {HALF}-{len(BODY)}/{len(BODY) + 1}"},
        {"Content_Range": "bytes */400000"},
        {"Content_Range": "nonsense"},
        {"Content_Range": f"bytes {HALF}-{'9' * 5000}/*"},
    ],
)
def test_starts_over_when_the_rest_does_not_fit(
    site: Site, fetch: Fetcher, wrong: dict[str, str]
) -> None:
    done = fetch(site.on("/v.mp4", breaks(), rest(**wrong), whole()))
    assert done.resumed == 0
    assert fetch.path.read_bytes() == BODY
    assert ["range" in request.headers for request in site.requests] == [False, True, False]


def test_starts_over_after_416(site: Site, fetch: Fetcher) -> None:
    unsatisfiable = lambda x: x.reply(b"", 416, Content_Range="bytes */5")
    assert fetch(site.on("/v.mp4", breaks(), unsatisfiable, whole())).resumed == 0
    assert fetch.path.read_bytes() == BODY


def test_resumes_after_a_failure_in_between(site: Site, fetch: Fetcher) -> None:
    busy = lambda x: x.reply(b"busy", 503)
    assert fetch(site.on("/v.mp4", breaks(), busy, rest())).resumed == 1
    assert fetch.path.read_bytes() == BODY


def test_body_that_is_always_short(site: Site, fetch: Fetcher) -> None:
    failure = fetch.fails(site.on("/v.mp4", breaks(Server="x")))
    assert (failure.code, failure.retryable) == ("source_incomplete", True)
    assert len(site.requests) == 4


def test_body_that_always_breaks_off_at_the_same_byte(site: Site, fetch: Fetcher) -> None:
    def nothing_more(x: Exchange) -> None:
        x.head(
            206,
            Content_Length=HALF,
            Content_Range=f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}",
            ETag='"1"',
        )

    assert fetch.fails(site.on("/v.mp4", breaks(), nothing_more)).code == "source_incomplete"
    assert len(site.requests) == 4


def test_progress_resets_the_count_of_failures(site: Site, fetch: Fetcher) -> None:
    """A long download may break off more often than `max_retries`."""
    body = os.urandom(12 * 1024**2)
    step = 1024**2 + 1

    def send_some_bytes(x: Exchange) -> None:
        start = int(x.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        span = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        x.head(206 if start else 200, Content_Length=len(body) - start, ETag='"1"', **span)
        x.send(body[start : start + step])

    assert fetch(site.on("/v.mp4", send_some_bytes), max_retries=1).resumed == 11
    assert fetch.path.read_bytes() == body


def test_resumed_bytes_count_against_the_limit(site: Site, fetch: Fetcher) -> None:
    """The range answer hides the total; what is there already has to be added."""
    hidden = rest(Content_Range=f"bytes {HALF}-{len(BODY) - 1}/*")

    def breaks_off(x: Exchange) -> None:
        x.head(Transfer_Encoding="chunked", ETag='"1"')
        x.send(b"%x\r\n%s\r\n" % (HALF, BODY[:HALF]))

    assert (
        fetch.fails(site.on("/v.mp4", breaks_off, hidden), max_bytes=HALF + 1000).code
        == "source_too_large"
    )
    assert max(size for size, _ in fetch.progress) == HALF


def test_each_request_follows_the_redirects_again(site: Site, fetch: Fetcher) -> None:
    """The redirect may lead to a link that is signed for a short time."""
    site.on("/old.mp4", breaks())
    site.on("/new.mp4", rest())
    to_old: Handler = lambda x: x.reply(b"", 302, Location="/old.mp4")
    to_new: Handler = lambda x: x.reply(b"", 302, Location="/new.mp4")
    assert fetch(site.on("/v.mp4", to_old, to_new)).resumed == 1
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"1"', "Last-Modified": MODIFIED, "Date": LATER}, '"1"'),
        ({"ETag": 'W/"1"', "Last-Modified": MODIFIED, "Date": LATER}, None),
        ({"Last-Modified": MODIFIED, "Date": LATER}, MODIFIED),
        ({"Last-Modified": LATER, "Date": MODIFIED}, None),
        ({"Last-Modified": "then", "Date": LATER}, None),
        ({"Last-Modified": MODIFIED}, None),
        ({"ETag": "bare"}, None),
        ({"ETag": '"'}, None),
        ({"ETag": '"cut off'}, None),
        ({}, None),
    ],
)
def test_strong_validator(headers: dict[str, str], validator: str | None) -> None:
    assert strong_validator(headers) == validator


@pytest.mark.parametrize(
    ("headers", "whole_file"),
    [
        ({"Content-Range": "bytes 0-9/10"}, True),
        ({"Content-Range": "bytes 0-9/*", "Content-Length": "10"}, True),
        ({}, True),
        ({"Content-Range": "bytes 0-9/*"}, False),
        ({"Content-Range": "bytes 0-8/10"}, False),
        ({"Content-Range": "bytes 1-9/10"}, False),
        ({"Content-Range": "bytes */10"}, False),
        ({"Content-Range": "nonsense"}, False),
        ({"Content-Type": "multipart/byteranges; boundary=x"}, False),
    ],
)
def test_whole_file_in_a_206(headers: dict[str, str], whole_file: bool) -> None:
    assert is_whole(headers) is whole_file


def test_range_headers_need_a_validator_and_bytes() -> None:
    assert range_headers(None, 10) == {}
    assert range_headers('"1"', 0) == {}
    assert range_headers('"1"', 10) == {"Range": "bytes=10-", "If-Range": '"1"'}


@pytest.mark.parametrize(
    "unit", ["bits 5-9/10", "bytes 5-9/10, bytes 5-9/10", "", "bytes -5/10", "bytes 9-5/10"]
)
def test_malformed_content_range_does_not_continue(unit: str) -> None:
    assert not continues({"Content-Range": unit, "ETag": '"1"'}, '"1"', 5, 10)
    assert continues({"Content-Range": "bytes 5-9/10", "ETag": '"1"'}, '"1"', 5, 10)
