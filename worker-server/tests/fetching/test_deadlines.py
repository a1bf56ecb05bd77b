"""Deadlines and stops hold whatever the source does. Bounds are wide: the machine may be busy."""

import threading
import time
from collections.abc import Iterator

import pytest
from fetching_testing import Exchange, Fetcher, Handler, Names, Site, unresponsive_listener

from idrl_testing.clocks import Clock
from idrl_testing.waiting import wait_until
from worker_server.fetching import FetchLimits, watchdog as watchdog_module
from worker_server.fetching.errors import RequestStalled
from worker_server.fetching.watchdog import Watchdog

BODY = b"x" * 100_000


def hangs(x: Exchange) -> None:
    """Never answer."""
    x.until_gone()


def drips_headers(x: Exchange) -> None:
    """Send a header a byte at a time, each before any socket's timeout."""
    x.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not x.is_gone(0.02):
        x.send(b"a")


def continues_for_ever(x: Exchange) -> None:
    """Send 100 Continue for ever."""
    while not x.is_gone(0.005):
        x.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def stalls(x: Exchange) -> None:
    """Send half and no more."""
    x.head(Content_Length=2 * len(BODY), ETag='"1"')
    x.send(BODY)
    x.until_gone()


def trickles(x: Exchange) -> None:
    """Send the body a byte at a time."""
    x.head(Content_Length=len(BODY))
    while not x.is_gone(0.01):
        x.send(b"a")


def slows_down(x: Exchange) -> None:
    """Send half at once, and the rest a byte at a time."""
    x.head(Content_Length=2 * len(BODY))
    x.send(BODY)
    while not x.is_gone(0.01):
        x.send(b"a")


def drips_chunk_header(x: Exchange) -> None:
    """Send the line before a chunk a byte at a time, for ever."""
    x.head(Transfer_Encoding="chunked")
    x.send(b"3;")
    while not x.is_gone(0.01):
        x.send(b"a")


def endless_trailers(x: Exchange) -> None:
    """End the chunks and go on with trailers."""
    x.head(Transfer_Encoding="chunked")
    x.send(b"3\r\nabc\r\n0\r\n")
    while not x.is_gone(0.005):
        x.send(b"A: b\r\n" * 10)


TOO_SLOW = [
    hangs,
    drips_headers,
    continues_for_ever,
    stalls,
    trickles,
    slows_down,
    drips_chunk_header,
    endless_trailers,
]
LIMITS = {"first_byte_s": 0.5, "stall_s": 0.5, "min_bytes_per_s": 1024}


@pytest.mark.parametrize("answer", TOO_SLOW)
def test_too_slow(site: Site, fetch: Fetcher, answer: Handler) -> None:
    began = time.monotonic()
    failure = fetch.fails(site.on("/v.mp4", answer), **LIMITS)
    # Silence may pass; a rate that is too low will not.
    is_silence = answer not in (trickles, slows_down)
    assert (failure.code, failure.retryable) == ("source_too_slow", is_silence)
    assert len(site.requests) == 2  # a stall is tried once more, not three times
    assert 0.9 < time.monotonic() - began < 15


@pytest.mark.parametrize("answer", TOO_SLOW)
def test_total_time(site: Site, fetch: Fetcher, answer: Handler) -> None:
    began = time.monotonic()
    failure = fetch.fails(site.on("/v.mp4", answer), timeout_s=0.5)
    assert failure.code == "source_too_slow"
    assert "0.5 s" in str(failure)
    assert len(site.requests) == 1
    assert 0.4 < time.monotonic() - began < 10


@pytest.mark.parametrize("answer", TOO_SLOW)
def test_stop(site: Site, fetch: Fetcher, answer: Handler) -> None:
    """The request was sent when the stop comes."""

    def stop_then(x: Exchange) -> None:
        fetch.stop.set()
        answer(x)

    began = time.monotonic()
    fetch.stops(site.on("/v.mp4", stop_then))
    assert time.monotonic() - began < 5
    assert len(site.requests) == 1


def test_stop_in_the_middle_of_a_fast_body(site: Site, fetch: Fetcher) -> None:
    def endless(x: Exchange) -> None:
        x.head()
        x.send(bytes(1024**2))
        fetch.stop.set()
        while True:
            x.send(bytes(1024))

    fetch.stops(site.on("/v.mp4", endless), max_bytes=2**40)


def test_stop_before_the_first_request(site: Site, fetch: Fetcher) -> None:
    fetch.stop.set()
    fetch.stops(site.on("/v.mp4", hangs))


def test_stop_during_the_backoff(site: Site, fetch: Fetcher) -> None:
    def busy(x: Exchange) -> None:
        x.reply(b"", 503, Retry_After=30)
        fetch.stop.set()

    fetch.stops(site.on("/v.mp4", busy), max_pause_s=60)
    assert len(site.requests) == 1


def test_connection_is_closed_during_the_backoff(site: Site, fetch: Fetcher) -> None:
    closed = []

    def busy(x: Exchange) -> None:
        x.head(503, Retry_After=30)
        closed.append(x.is_gone(10))
        fetch.stop.set()

    fetch.stops(site.on("/v.mp4", busy), max_pause_s=60)
    assert closed == [True]


def test_total_time_ends_the_backoff(site: Site, fetch: Fetcher) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(b"", 503, Retry_After=30))
    assert fetch.fails(url, max_pause_s=60, timeout_s=0.5).code == "source_too_slow"


@pytest.mark.parametrize("how", ["stop", "slow"])
def test_resolver_that_hangs(fetch: Fetcher, names: Names, how: str) -> None:
    release = threading.Event()

    def hang() -> list[str]:
        if how == "stop":
            fetch.stop.set()
        release.wait(30)
        return []

    names.answers = {"slow.example": [hang]}
    try:
        if how == "stop":
            fetch.stops("http://slow.example/v.mp4")
        else:
            assert fetch.fails("http://slow.example/v.mp4", **LIMITS).code == "source_too_slow"
    finally:
        release.set()


def test_resumes_after_a_stall(site: Site, fetch: Fetcher) -> None:
    def rest(x: Exchange) -> None:
        x.reply(
            BODY,
            206,
            Content_Range=f"bytes {len(BODY)}-{2 * len(BODY) - 1}/{2 * len(BODY)}",
            ETag='"1"',
        )

    assert fetch(site.on("/v.mp4", stalls, rest), stall_s=0.5).resumed == 1
    assert fetch.path.read_bytes() == 2 * BODY


def test_slow_source_above_the_minimum_rate_is_downloaded(site: Site, fetch: Fetcher) -> None:
    """It takes longer than every limit except the total one, and brings little at a time."""
    pieces = [BODY[:400]] * 30

    def slow(x: Exchange) -> None:
        x.head(Content_Length=len(b"".join(pieces)))
        for piece in pieces:
            x.send(piece)
            x.is_gone(0.08)

    limits = {"stall_s": 1.5, "first_byte_s": 1, "min_bytes_per_s": 1024}
    assert fetch(site.on("/v.mp4", slow), **limits).size_bytes == len(b"".join(pieces))


@pytest.mark.parametrize("limit", ["stall_s", "timeout_s"])
def test_slow_disk_is_not_counted(site: Site, fetch: Fetcher, limit: str) -> None:
    """The pause between two reads is longer than the limit."""
    pauses: list[bool] = []

    class Slow(list[tuple[int, int | None]]):
        def append(self, item: tuple[int, int | None]) -> None:
            if not pauses:
                pauses.append(threading.Event().wait(2.5))
            super().append(item)

    fetch.progress = Slow()
    assert fetch(
        site.on("/v.mp4", lambda x: x.reply(BODY * 20)), **{limit: 2.0}
    ).size_bytes == 20 * len(BODY)
    assert pauses == [False]


@pytest.fixture
def unresponsive_port() -> Iterator[int]:
    """A port whose queue is full: the next connection to it hangs while it is made."""
    with unresponsive_listener("127.0.0.1") as port:
        yield port


def test_many_dead_addresses_leave_time_for_the_next(
    site: Site, fetch: Fetcher, names: Names, unresponsive_port: int
) -> None:
    names.answers = {"many.example": [[*[f"127.0.0.1:{unresponsive_port}"] * 7, site.address]]}
    fetch.allow_hosts |= {f"127.0.0.1:{unresponsive_port}"}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    done = fetch("http://many.example/v.mp4", connect_s=1, first_byte_s=4.5, max_retries=0)
    assert done.size_bytes == len(BODY)


def test_families_of_addresses_are_tried_in_turn(site: Site, fetch: Fetcher, names: Names) -> None:
    """Resolvers list IPv6 first, which leads nowhere on some machines."""
    names.answers = {"both.example": [[*["::1"] * 4, "127.0.0.1"]]}
    fetch.allow_hosts = {"both.example"}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    with unresponsive_listener("::1", site.port):
        began = time.monotonic()
        fetch(site.url("/v.mp4", "both.example"), connect_s=2, first_byte_s=60)
    assert time.monotonic() - began < 6


def test_connect_timeout(fetch: Fetcher, unresponsive_port: int) -> None:
    fetch.allow_hosts = {"127.0.0.1"}
    failure = fetch.fails(
        f"http://127.0.0.1:{unresponsive_port}/v.mp4", connect_s=0.3, max_retries=1
    )
    assert failure.code == "source_unavailable"


def test_stop_while_connecting(
    fetch: Fetcher, unresponsive_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.allow_hosts = {"127.0.0.1"}
    checks = iter([False, False, False])
    monkeypatch.setattr(fetch.stop, "is_set", lambda: next(checks, True))
    began = time.monotonic()
    fetch.stops(f"http://127.0.0.1:{unresponsive_port}/v.mp4", connect_s=60, first_byte_s=60)
    assert time.monotonic() - began < 10


def test_no_thread_and_no_connection_is_left(site: Site, fetch: Fetcher) -> None:
    before = set(threading.enumerate())
    for answer in (hangs, stalls):
        fetch.fails(site.on("/v.mp4", answer), first_byte_s=0.3, stall_s=0.3, max_retries=0)
    left = {
        thread.name
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("fetch")
    }
    assert left == set()
    assert len(site.requests) == 2
    assert all(
        exchange.is_gone(5) for exchange in site.requests if exchange.connection.fileno() >= 0
    )


def test_stall_does_not_end_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(watchdog_module, "time", clock)
    with Watchdog(FetchLimits(first_byte_s=0.2), lambda: False) as watchdog:
        watchdog.begin_request()
        clock.sleep(0.2)
        with pytest.raises(RequestStalled):
            wait_until(watchdog.check)
        watchdog.begin_request()
        watchdog.check()
        assert not watchdog.over.is_set()
