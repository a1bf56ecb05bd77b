"""What a download returns, and which failure it raises."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from fetching_testing import Exchange, Fetcher, Site

from worker_server.fetching import Download

BODY = os.urandom(300_000)


def test_download_returns_size_hosts_and_headers(site: Site, fetch: Fetcher) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(BODY, ETag='"1"', Content_Type="video/mp4"))
    assert fetch(url) == Download(len(BODY), ("127.0.0.1",), '"1"', "video/mp4", 0)
    assert fetch.path.read_bytes() == BODY
    assert fetch.progress[-1] == (len(BODY), len(BODY))
    assert [size for size, _ in fetch.progress] == sorted(size for size, _ in fetch.progress)


def test_request_headers(site: Site, fetch: Fetcher) -> None:
    fetch(site.on("/v.mp4", lambda x: x.reply(BODY)))
    headers = site.requests[0].headers
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "idrl/1"
    assert headers["host"] == site.address
    assert not {"cookie", "authorization", "range", "referer"} & set(headers)


def test_proxy_and_netrc_of_the_environment_are_ignored(
    site: Site, other_site: Site, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", other_site.url("/"))
    monkeypatch.setenv("ALL_PROXY", other_site.url("/"))
    fetch(site.on("/v.mp4", lambda x: x.reply(BODY)))
    assert "authorization" not in site.requests[0].headers
    assert other_site.accepted == 0


def test_chunked_body_without_a_length(site: Site, fetch: Fetcher) -> None:
    def chunked(x: Exchange) -> None:
        x.head(Transfer_Encoding="chunked")
        for start in range(0, len(BODY), 70_000):
            piece = BODY[start : start + 70_000]
            x.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        x.send(b"0\r\n\r\n")

    assert fetch(site.on("/v.mp4", chunked)).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY
    assert fetch.progress[-1] == (len(BODY), None)


@pytest.mark.parametrize("value", ["Chunked ", "identity, chunked", "chunked\t", "chunked"])
def test_chunks_are_taken_apart_however_they_are_announced(
    site: Site, fetch: Fetcher, value: str
) -> None:
    def answer(x: Exchange) -> None:
        x.head(Transfer_Encoding=value)
        x.send(b"3\r\nabc\r\n2;last=1\r\nde\r\n0\r\nExpires: 0\r\n\r\n")

    fetch(site.on("/v.mp4", answer))
    assert fetch.path.read_bytes() == b"abcde"


def test_body_without_length_ends_with_the_connection(site: Site, fetch: Fetcher) -> None:
    def close_delimited(x: Exchange) -> None:
        x.head()
        x.send(BODY)

    assert fetch(site.on("/v.mp4", close_delimited)).size_bytes == len(BODY)
    assert fetch.path.read_bytes() == BODY


def test_existing_file_is_replaced(site: Site, fetch: Fetcher) -> None:
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
def test_file_name_of_the_url_is_never_a_path(
    site: Site, fetch: Fetcher, path: str, tmp_path: Path
) -> None:
    site.elsewhere = lambda x: x.reply(BODY)
    fetch(site.url(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]
    assert site.requests[0].path.isascii()


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
def test_response_that_is_not_http(site: Site, fetch: Fetcher, answer: bytes) -> None:
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.send(answer)), max_retries=1)
    assert (failure.code, failure.retryable) == ("source_unavailable", False)
    assert len(site.requests) == 2


def test_empty_body(site: Site, fetch: Fetcher) -> None:
    assert fetch.fails(site.on("/v.mp4", lambda x: x.reply(b""))).code == "source_empty"
    assert fetch.fails(site.on("/close.mp4", lambda x: x.head())).code == "source_empty"
    assert len(site.requests) == 2


@pytest.mark.parametrize("size_bytes", [100_001, 10 * 1024**4, 10**30])
def test_declared_length_above_the_limit_is_refused_unread(
    site: Site, fetch: Fetcher, size_bytes: int
) -> None:
    def huge(x: Exchange) -> None:
        x.head(Content_Length=size_bytes)
        x.until_gone()

    assert fetch.fails(site.on("/v.mp4", huge), max_bytes=100_000).code == "source_too_large"
    assert fetch.progress == []
    assert len(site.requests) == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_endless_body_ends_at_the_limit(site: Site, fetch: Fetcher, chunked: bool) -> None:
    def endless(x: Exchange) -> None:
        x.head(**({"Transfer_Encoding": "chunked"} if chunked else {}))
        while True:
            x.send((b"1000\r\n%s\r\n" if chunked else b"%s") % (b"a" * 4096))

    assert fetch.fails(site.on("/v.mp4", endless), max_bytes=1_000_000).code == "source_too_large"
    assert max(size for size, _ in fetch.progress) <= 1_000_000
    assert len(site.requests) == 1


def test_file_of_exactly_the_limit_is_taken(site: Site, fetch: Fetcher) -> None:
    def close_delimited(x: Exchange) -> None:
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


def test_declared_length_above_the_free_space(site: Site, fetch: Fetcher) -> None:
    url = site.on("/v.mp4", lambda x: x.head(Content_Length=2**60))
    failure = fetch.fails(url, max_bytes=2**62)
    assert (failure.code, failure.retryable) == ("storage_full", True)


@pytest.mark.parametrize("size_bytes", [10, 300_000])
def test_full_disk(site: Site, fetch: Fetcher, size_bytes: int) -> None:
    fetch.path.symlink_to("/dev/full")
    failure = fetch.fails(site.on("/v.mp4", lambda x: x.reply(BODY[:size_bytes])))
    assert (failure.code, failure.retryable) == ("storage_full", True)


def test_disk_that_fills_up_leaves_no_file(site: Site, tmp_path: Path) -> None:
    """The limit on a file's size stands in for a small disk; only a child may have it."""
    url = site.on("/v.mp4", lambda x: x.reply(BODY))
    printed = _in_a_child(
        url, site.address, tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    assert printed == ["storage_full"]
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_file(site: Site, tmp_path: Path) -> None:
    piece = bytes(1024**2)

    def large(x: Exchange) -> None:
        x.head(Content_Length=300 * len(piece))
        for _ in range(300):
            x.send(piece)

    size_bytes, grown_kib = map(
        int, _in_a_child(site.on("/v.mp4", large), site.address, tmp_path, "pass")
    )
    assert size_bytes == 300 * len(piece)
    assert grown_kib < 20 * 1024


def test_body_of_a_redirect_is_not_read(site: Site, fetch: Fetcher) -> None:
    def endless(x: Exchange) -> None:
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


def test_error_in_a_callback_is_raised(
    site: Site, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.on("/v.mp4", lambda x: x.until_gone())
    monkeypatch.setattr(fetch.stop, "is_set", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch(url)
    assert not fetch.path.exists()


def test_secrets_of_the_url_are_not_logged(
    site: Site, fetch: Fetcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    url = site.on(
        "/v.mp4",
        lambda x: x.send(b"HTTP/1.1 500 No\r\nbroken header\r\n\r\n"),
        lambda x: x.reply(BODY),
    )
    fetch(f"{url}?token=secret")
    assert "request retried" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("query", ["?sig=a%7Eb%5Fc%2f%2F", "?", "?&&x=%c3%bc&e[]='()*!~", ""])
@pytest.mark.parametrize("path", ["/v%2e.mp4", "//a/./b/../v.mp4"])
def test_legal_url_is_sent_byte_for_byte(site: Site, fetch: Fetcher, path: str, query: str) -> None:
    site.elsewhere = lambda x: x.reply(BODY)
    fetch(site.url(f"{path}{query}#t=1"))
    assert site.requests[0].path == f"{path}{query}"


@pytest.mark.parametrize("query", ["?sig=a%7Eb%5Fc%2f%2F", "?", "?x=%c3%bc|\xfc"])
@pytest.mark.parametrize("prefix", ["http://{address}", "//{address}", ""])
def test_redirect_is_followed_byte_for_byte(
    site: Site, fetch: Fetcher, prefix: str, query: str
) -> None:
    target = f"/b/../%76.mp4{query}"
    location = prefix.format(address=site.address) + target
    site.on("/b/../%76.mp4", lambda x: x.reply(BODY))
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    fetch(site.on("/start", lambda x: x.send(head.encode("latin-1"))))
    assert site.requests[1].path == target.replace("|", "%7C").replace("\xfc", "%FC")


def test_returned_headers_are_printable_and_short(site: Site, fetch: Fetcher) -> None:
    hostile = (
        b"HTTP/1.0 200 OK\r\nContent-Type: video/\x00mp4\x1b[2J" + b"x" * 500 + b"\r\n\r\nbody"
    )
    content_type = fetch(site.on("/v.mp4", lambda x: x.send(hostile))).content_type
    assert content_type
    assert content_type.startswith("video/mp4[2Jx")
    assert len(content_type) == 200


def _in_a_child(url: str, address: str, folder: Path, before: str) -> list[str]:
    """Download in another process; return the failure's code, or the size and the KiB of growth."""
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
