"""What a download gives back, and what it says when the source is not as it should be."""

# ruff: noqa: ANN001 # the fixtures are classes of conftest.py, which cannot be imported from here

import gzip
import os
import socket
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest

from worker_server.fetching import Download

BODY = os.urandom(300_000)


def test_the_file_arrives(site, fetch) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(BODY, ETag='"1"', Content_Type="video/mp4"))
    assert fetch(url) == Download(len(BODY), ("127.0.0.1",), '"1"', "video/mp4", 0)
    assert fetch.path.read_bytes() == BODY
    assert fetch.progress[-1] == (len(BODY), len(BODY))
    assert [size for size, _ in fetch.progress] == sorted(size for size, _ in fetch.progress)


def test_what_the_site_is_told(site, fetch) -> None:
    fetch(site.on("/v.mp4", lambda x: x.reply(BODY)))
    headers = site.requests[0].headers
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "idrl/1"
    assert headers["host"] == site.address
    assert not {"cookie", "authorization", "range", "referer"} & set(headers)


def test_the_environment_changes_nothing(site, other_site, fetch, monkeypatch, tmp_path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", other_site.url("/"))
    monkeypatch.setenv("ALL_PROXY", other_site.url("/"))
    fetch(site.on("/v.mp4", lambda x: x.reply(BODY)))
    assert "authorization" not in site.requests[0].headers
    assert other_site.accepted == 0


def test_chunked_body_without_a_length(site, fetch) -> None:
    def chunked(x) -> None:
        x.head(Transfer_Encoding="chunked")
        for start in range(0, len(BODY), 70_000):
            piece = BODY[start : start + 70_000]
            x.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        x.send(b"0\r\n\r\n")

    assert fetch(site.on("/v.mp4", chunked)).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY
    assert fetch.progress[-1] == (len(BODY), None)


def test_body_that_ends_with_the_connection(site, fetch) -> None:
    def close_delimited(x) -> None:
        x.head()
        x.send(BODY)

    assert fetch(site.on("/v.mp4", close_delimited)).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY


def test_a_file_of_before_is_replaced(site, fetch) -> None:
    fetch.path.write_bytes(b"x" * 1_000_000)
    fetch(site.on("/v.mp4", lambda x: x.reply(BODY)))
    assert fetch.path.read_bytes() == BODY


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/x.mp4",
        "/%2e%2e%2fx",
        "/-i.mp4",
        "/a;rm",
        "/ü ä.mp4",
        "/\u202e4pm.😀",
        "/" + "a" * 1900,
    ],
)
def test_the_name_in_the_url_is_never_a_path(site, fetch, path, tmp_path) -> None:
    site.elsewhere = lambda x: x.reply(BODY)
    fetch(site.url(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]
    assert site.requests[0].path.isascii()


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
def test_fails_at_once(site, fetch, status, code) -> None:
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
def test_whole_file_with_status_206_is_taken(site, fetch, headers) -> None:
    assert fetch(site.on("/v.mp4", lambda x: x.reply(BODY, 206, **headers))).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY
    assert "range" not in site.requests[0].headers


def test_download_that_began_with_206_is_resumed(site, fetch) -> None:
    half = len(BODY) // 2

    def breaks(x) -> None:
        span = f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
        x.head(206, Content_Length=len(BODY), Content_Range=span, ETag='"1"')
        x.send(BODY[:half])

    span = f"bytes {half}-{len(BODY) - 1}/{len(BODY)}"
    rest = lambda x: x.reply(BODY[half:], 206, Content_Range=span, ETag='"1"')  # noqa: E731
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
def test_part_of_a_file_nobody_asked_for_is_refused(site, fetch, headers) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(BODY, 206, **headers))
    assert fetch.fails(url).code == "source_refused"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429])
def test_is_asked_again_and_then_answers(site, fetch, status) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(b"later", status), lambda x: x.reply(BODY))
    assert fetch(url).size_bytes == len(BODY)
    assert len(site.requests) == 2


def test_always_500(site, fetch) -> None:
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
def test_retry_after_ends_the_download_and_is_handed_on(site, fetch, status, value, wait_s) -> None:
    """The server's clock is years behind ours: its own Date is what the date is compared with."""
    url = site.on("/v.mp4", lambda x: x.reply(b"", status, Retry_After=value, Date=NOW))
    failure = fetch.fails(url)
    assert (failure.code, failure.retryable) == ("source_unavailable", True)
    assert failure.retry_after_s == wait_s
    assert len(site.requests) == 1


@pytest.mark.parametrize("value", ["901", "Wed, 21 Oct 2099 07:28:00 GMT", "9" * 400])
def test_retry_after_beyond_the_bound_is_final(site, fetch, value) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(b"", 503, Retry_After=value))
    failure = fetch.fails(url)
    assert (failure.code, failure.retryable) == ("source_unavailable", False)
    assert "900 s" in failure.message
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "value",
    ["0", "soon", "-1", "1.5", "Wed, 99 Foo 2099", "", "\xb2", "Wed, 21 Oct 2015 07:28:00 GMT"],
)
def test_retry_after_without_meaning_is_ignored(site, fetch, value) -> None:
    later = lambda x: x.reply(b"", 503, Retry_After=value)  # noqa: E731
    assert fetch(site.on("/v.mp4", later, lambda x: x.reply(BODY))).size_bytes == len(BODY)


def test_short_retry_after_is_waited_for_and_not_shortened(site, fetch) -> None:
    at = []

    def later(x) -> None:
        at.append(time.monotonic())
        x.reply(b"", 503, Retry_After=1)

    def now(x) -> None:
        at.append(time.monotonic())
        x.reply(BODY)

    assert fetch(site.on("/v.mp4", later, now)).size_bytes == len(BODY)
    assert at[1] - at[0] >= 1


def test_what_is_received_already_is_worth_a_longer_wait(site, fetch) -> None:
    half = len(BODY) // 2

    def breaks(x) -> None:
        x.head(Content_Length=len(BODY), ETag='"1"')
        x.send(BODY[:half])

    span = f"bytes {half}-{len(BODY) - 1}/{len(BODY)}"
    rest = lambda x: x.reply(BODY[half:], 206, Content_Range=span, ETag='"1"')  # noqa: E731
    url = site.on("/v.mp4", breaks, lambda x: x.reply(b"", 503, Retry_After=1), rest)
    assert fetch(url, max_pause_s=0.1, max_backoff_s=5).resumed == 1
    url = site.on("/v.mp4", breaks, lambda x: x.reply(b"", 503, Retry_After=6))
    assert fetch.fails(url, max_pause_s=0.1, max_backoff_s=5).retry_after_s == 6


def test_nobody_listens(fetch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    fetch.allow_hosts = {"127.0.0.1"}
    failure = fetch.fails(f"http://127.0.0.1:{port}/v.mp4?token=secret")
    assert (failure.code, failure.retryable) == ("source_unavailable", True)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_connection_that_always_breaks_is_transient(site, fetch, how) -> None:
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.reset() if how == "reset" else None))
    assert (failure.code, failure.retryable) == ("source_unavailable", True)
    assert len(site.requests) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ],
    ids=["ssh", "no status", "many headers", "long header", "two lengths"],
)
def test_what_answers_is_no_web_server(site, fetch, answer) -> None:
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.send(answer)), max_retries=1)
    assert (failure.code, failure.retryable) == ("source_unavailable", False)
    assert len(site.requests) == 2


def test_empty_body(site, fetch) -> None:
    assert fetch.fails(site.on("/v.mp4", lambda x: x.reply(b""))).code == "source_empty"
    assert fetch.fails(site.on("/close.mp4", lambda x: x.head())).code == "source_empty"
    assert len(site.requests) == 2


COMPRESSED = [
    ("gzip", gzip.compress(BODY)),
    ("X-Gzip", gzip.compress(BODY)),
    ("identity, gzip", gzip.compress(BODY)),
    ("aws-chunked,gzip,", gzip.compress(BODY)),
    ("deflate", zlib.compress(BODY)),
    ("zstd", b"\x28\xb5\x2f\xfd" + BODY),
    ("compress", b"\x1f\x9d" + BODY),
    ("br", BODY),
]


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED)
@pytest.mark.parametrize("first", [1, 1000])
def test_compressed_body_is_refused(site, fetch, encoding, body, first) -> None:
    def in_two(x) -> None:
        x.head(Content_Length=len(body), Content_Encoding=encoding)
        x.send(body[:first])
        x.is_gone(0.05)
        x.send(body[first:])

    assert fetch.fails(site.on("/v.mp4", in_two)).code == "source_refused"
    assert fetch.progress == []


PLAIN = b"\x00\x00\x00\x18ftypmp42" + BODY
NOT_CODINGS = [
    "Identity",
    "aws-chunked",
    "utf-8",
    "binary",
    "none",
    ",",
    "",
    "UTF-8, binary",
    "7bit",
]


@pytest.mark.parametrize("encoding", [*NOT_CODINGS, "gzip", "deflate", "zstd", "aws-chunked, gzip"])
@pytest.mark.parametrize("body", [PLAIN, PLAIN[:3]])
def test_plain_body_is_taken_whatever_its_encoding_says(site, fetch, encoding, body) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(body, Content_Encoding=encoding))
    assert fetch(url).size_bytes == len(body)
    assert fetch.path.read_bytes() == body


@pytest.mark.parametrize("size_bytes", [100_001, 10 * 1024**4, 10**30])
def test_declared_too_large_is_refused_unread(site, fetch, size_bytes) -> None:
    def huge(x) -> None:
        x.head(Content_Length=size_bytes)
        x.until_gone()

    assert fetch.fails(site.on("/v.mp4", huge), max_bytes=100_000).code == "source_too_large"
    assert fetch.progress == []
    assert len(site.requests) == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_endless_body_ends_at_the_cap(site, fetch, chunked) -> None:
    def endless(x) -> None:
        x.head(**({"Transfer_Encoding": "chunked"} if chunked else {}))
        while True:
            x.send((b"1000\r\n%s\r\n" if chunked else b"%s") % (b"a" * 4096))

    assert fetch.fails(site.on("/v.mp4", endless), max_bytes=1_000_000).code == "source_too_large"
    assert max(size for size, _ in fetch.progress) <= 1_000_000
    assert len(site.requests) == 1


def test_a_file_of_exactly_the_cap_is_taken(site, fetch) -> None:
    def close_delimited(x) -> None:
        x.head()
        x.send(BODY)

    assert fetch(site.on("/a", close_delimited), max_bytes=len(BODY)).size_bytes == len(BODY)
    assert fetch(site.on("/b", lambda x: x.reply(BODY)), max_bytes=len(BODY)).size_bytes == len(
        BODY
    )
    assert (
        fetch.fails(site.on("/c", close_delimited), max_bytes=len(BODY) - 1).code
        == "source_too_large"
    )


def test_no_room_for_the_declared_size(site, fetch) -> None:
    url = site.on("/v.mp4", lambda x: x.head(Content_Length=2**60))
    failure = fetch.fails(url, max_bytes=2**62)
    assert (failure.code, failure.retryable) == ("storage_full", True)


@pytest.mark.parametrize("size_bytes", [10, 300_000])
def test_the_disk_is_full(site, fetch, size_bytes) -> None:
    fetch.path.symlink_to("/dev/full")
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.reply(BODY[:size_bytes])))
    assert (failure.code, failure.retryable) == ("storage_full", True)


def test_a_disk_that_fills_up_leaves_nothing(site, tmp_path) -> None:
    """The limit on a file's size stands in for a small disk; only a child may have it."""
    url = site.on("/v.mp4", lambda x: x.reply(BODY))
    said = _in_a_child(
        url, site.address, tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    assert said == ["storage_full"]
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_flat(site, tmp_path) -> None:
    piece = bytes(1024**2)

    def large(x) -> None:
        x.head(Content_Length=300 * len(piece))
        for _ in range(300):
            x.send(piece)

    size_bytes, grown_kib = map(
        int, _in_a_child(site.on("/v.mp4", large), site.address, tmp_path, "pass")
    )
    assert size_bytes == 300 * len(piece)
    assert grown_kib < 20 * 1024


def test_a_redirect_with_an_endless_body_is_not_read(site, fetch) -> None:
    def endless(x) -> None:
        x.head(302, Location="/v.mp4")
        while True:
            x.send(bytes(1024**2))

    site.on("/v.mp4", lambda x: x.reply(BODY))
    url = site.on("/start", endless)
    tracemalloc.start()
    try:
        fetch(url)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * 1024**2


def test_an_error_in_a_callback_reaches_the_caller(site, fetch, monkeypatch) -> None:
    url = site.on("/v.mp4", lambda x: x.until_gone())
    monkeypatch.setattr(fetch.stop, "is_set", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch(url)
    assert not fetch.path.exists()


def test_secrets_of_the_url_are_not_logged(site, fetch, caplog) -> None:
    caplog.set_level("DEBUG")
    url = site.on(
        "/v.mp4",
        lambda x: x.send(b"HTTP/1.1 500 No\r\nbroken header\r\n\r\n"),
        lambda x: x.reply(BODY),
    )
    fetch(f"{url}?token=secret")
    assert "repeated" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("query", ["?sig=a%7Eb%5Fc%2f%2F", "?", "?&&x=%c3%bc&e[]='()*!~", ""])
@pytest.mark.parametrize("path", ["/v%2e.mp4", "//a/./b/../v.mp4"])
def test_legal_url_is_sent_byte_for_byte(site, fetch, path, query) -> None:
    site.elsewhere = lambda x: x.reply(BODY)
    fetch(site.url(f"{path}{query}#t=1"))
    assert site.requests[0].path == f"{path}{query}"


@pytest.mark.parametrize("query", ["?sig=a%7Eb%5Fc%2f%2F", "?", "?x=%c3%bc|\xfc"])
@pytest.mark.parametrize("prefix", ["http://{address}", "//{address}", ""])
def test_redirect_is_followed_byte_for_byte(site, fetch, prefix, query) -> None:
    target = f"/b/../%76.mp4{query}"
    location = prefix.format(address=site.address) + target
    site.on("/b/../%76.mp4", lambda x: x.reply(BODY))
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    fetch(site.on("/start", lambda x: x.send(head.encode("latin-1"))))
    assert site.requests[1].path == target.replace("|", "%7C").replace("\xfc", "%FC")


def test_headers_to_keep_are_cleaned(site, fetch) -> None:
    hostile = (
        b"HTTP/1.0 200 OK\r\nContent-Type: video/\x00mp4\x1b[2J" + b"x" * 500 + b"\r\n\r\nbody"
    )
    content_type = fetch(site.on("/v.mp4", lambda x: x.send(hostile))).content_type
    assert content_type.startswith("video/mp4[2Jx")
    assert len(content_type) == 200


def _in_a_child(url: str, address: str, folder: Path, before: str) -> list[str]:
    """Download in a process of its own; return the failure's code, or the size and by how many KiB it grew."""
    script = f"""
import pathlib, resource
from worker_server.fetching import FetchFailed, FetchLimits, download
{before}
limits, path = FetchLimits(timeout_s=60), pathlib.Path({str(folder / "source")!r})
grown = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = grown()
try:
    done = download({url!r}, path, limits=limits, allow_hosts=[{address!r}],
                    on_progress=lambda size, total: None, should_stop=lambda: False)
    path.unlink()
    print(done.size_bytes, grown() - start)
except FetchFailed as failure:
    print(failure.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout.split()
