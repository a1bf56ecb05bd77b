"""What a download gives back, and what it says when the source is not as it should be."""

# ruff: noqa: ANN001 # the fixtures are classes of conftest.py, which cannot be imported from here

import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from worker_server.fetching import Download, FetchFailed

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
        (206, "source_refused"),
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


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_is_asked_again_and_then_answers(site, fetch, status) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(b"later", status), lambda x: x.reply(BODY))
    assert fetch(url).size_bytes == len(BODY)
    assert len(site.requests) == 2


def test_always_500(site, fetch) -> None:
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.reply(b"later", 500)))
    assert (failure.code, failure.retryable) == ("source_unavailable", False)
    assert len(site.requests) == 4


@pytest.mark.parametrize(
    "value",
    ["100000", "Wed, 21 Oct 2099 07:28:00 GMT", "soon", "-1", "9" * 400, "Wed, 99 Foo 2099"],
)
def test_retry_after_is_bounded(site, fetch, value) -> None:
    later = lambda x: x.reply(b"", 503, Retry_After=value)  # noqa: E731
    assert fetch(site.on("/v.mp4", later, lambda x: x.reply(BODY))).size_bytes == len(BODY)


def test_nobody_listens(fetch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    fetch.allow_hosts = {"127.0.0.1"}
    assert fetch.fails(f"http://127.0.0.1:{port}/v.mp4?token=secret").code == "source_unavailable"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ],
    ids=["nothing", "ssh", "no status", "many headers", "long header", "two lengths"],
)
def test_what_answers_is_no_web_server(site, fetch, answer) -> None:
    assert (
        fetch.fails(site.on("/v.mp4", lambda x: x.send(answer)), max_retries=1).code
        == "source_unavailable"
    )
    assert len(site.requests) == 2


def test_empty_body(site, fetch) -> None:
    assert fetch.fails(site.on("/v.mp4", lambda x: x.reply(b""))).code == "source_empty"
    assert fetch.fails(site.on("/close.mp4", lambda x: x.head())).code == "source_empty"
    assert len(site.requests) == 2


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_compressed_body_is_refused_unread(site, fetch, encoding) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(BODY, Content_Encoding=encoding))
    assert fetch.fails(url).code == "source_refused"
    assert fetch.progress == []


def test_identity_encoding_is_none(site, fetch) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(BODY, Content_Encoding="Identity"))
    assert fetch(url).size_bytes == len(BODY)


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
    assert "tried again" in caplog.text
    assert "secret" not in caplog.text


def test_headers_to_keep_are_cleaned(site, fetch) -> None:
    hostile = (
        b"HTTP/1.0 200 OK\r\nContent-Type: video/\x00mp4\x1b[2J" + b"x" * 500 + b"\r\n\r\nbody"
    )
    content_type = fetch(site.on("/v.mp4", lambda x: x.send(hostile))).content_type
    assert content_type.startswith("video/mp4[2Jx")
    assert len(content_type) == 200


def test_a_failure_survives_being_sent_to_another_process() -> None:
    failure = FetchFailed("source_empty", "Empty.", retryable=True)
    kind, arguments = failure.__reduce__()[:2]
    assert vars(kind(*arguments)) == vars(failure)


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
