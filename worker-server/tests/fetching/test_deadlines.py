"""Deadlines and stops hold whatever the source does, however busy the machine of the tests is."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from fetching_testing import Exchange, Fetcher, Names, Site, unresponsive_listener

from idrl_testing.clocks import Clock
from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server.fetching import FetchLimits, watchdog as watchdog_module
from worker_server.fetching.errors import RequestStalled
from worker_server.fetching.watchdog import Watchdog

BODY = b"x" * 100_000


@dataclass
class Pace:
    """The time of the download, which passes only while the source is at its turn."""

    clock: Clock
    progress: list[tuple[int, int | None]]

    def step(self) -> None:
        """Let a fraction of the shortest limit pass."""
        self.clock.sleep(10)

    def begin(self, x: Exchange, **headers: object) -> None:
        """Send the headers of a body, of which the download has nothing yet."""
        self.progress.clear()
        x.head(**headers)

    def send(self, x: Exchange, data: bytes) -> None:
        """Return once the download has all of it, or has closed the connection."""
        wanted = sum(size for size, _ in self.progress[-1:]) + len(data)
        x.send(data)
        while not any(size >= wanted for size, _ in self.progress[-1:]) and not x.is_gone(0.01):
            pass


@pytest.fixture
def pace(fetch: Fetcher, monkeypatch: pytest.MonkeyPatch) -> Pace:
    """Set the clock of the download's limits: a source that the machine starves is not slow."""
    pace = Pace(Clock(), fetch.progress)
    monkeypatch.setattr(watchdog_module, "time", pace.clock)
    return pace


def hangs(x: Exchange, pace: Pace) -> None:
    """Never answer."""
    while not x.is_gone(0.01):
        pace.step()


def drips_headers(x: Exchange, pace: Pace) -> None:
    """Send a header a byte at a time, each before any socket's timeout."""
    x.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drips(x, pace, b"a")


def continues_for_ever(x: Exchange, pace: Pace) -> None:
    """Send 100 Continue for ever."""
    drips(x, pace, b"HTTP/1.1 100 Continue\r\n\r\n")


def drips(x: Exchange, pace: Pace, data: bytes) -> None:
    while not x.is_gone(0.005):
        x.send(data)
        pace.step()


def stalls(x: Exchange, pace: Pace) -> None:
    """Send half and no more."""
    pace.begin(x, Content_Length=2 * len(BODY), ETag='"1"')
    pace.send(x, BODY)
    hangs(x, pace)


def trickles(x: Exchange, pace: Pace) -> None:
    """Send the body a byte at a time."""
    pace.begin(x, Content_Length=2 * len(BODY))
    send_bytes(x, pace)


def send_bytes(x: Exchange, pace: Pace) -> None:
    while not x.is_gone(0.01):
        pace.send(x, b"a")
        pace.step()


def slows_down(x: Exchange, pace: Pace) -> None:
    """Send half at once, and the rest a byte at a time."""
    pace.begin(x, Content_Length=2 * len(BODY))
    pace.send(x, BODY)
    send_bytes(x, pace)


def drips_chunk_header(x: Exchange, pace: Pace) -> None:
    """Send the line before a chunk a byte at a time, for ever."""
    x.head(Transfer_Encoding="chunked")
    x.send(b"3;")
    drips(x, pace, b"a")


def endless_trailers(x: Exchange, pace: Pace) -> None:
    """End the chunks and go on with trailers."""
    x.head(Transfer_Encoding="chunked")
    x.send(b"3\r\nabc\r\n0\r\n")
    drips(x, pace, b"A: b\r\n" * 10)


Answer = Callable[[Exchange, Pace], None]
TOO_SLOW: list[Answer] = [
    hangs,
    drips_headers,
    continues_for_ever,
    stalls,
    trickles,
    slows_down,
    drips_chunk_header,
    endless_trailers,
]
# By the clock that `pace` sets, except for a socket's own timeout, the sum of two of them.
PATIENT = {"timeout_s": 10_000, "first_byte_s": 1000, "stall_s": 1000}
LIMITS = PATIENT | {"first_byte_s": 50, "stall_s": 50, "min_bytes_per_s": 10}


@pytest.mark.parametrize("answer", TOO_SLOW)
def test_too_slow(site: Site, fetch: Fetcher, pace: Pace, answer: Answer) -> None:
    url = site.on("/v.mp4", lambda x: answer(x, pace))
    failure = fetch.fails(url, **LIMITS)
    # Silence may pass; a rate that is too low will not.
    is_silence = answer not in (trickles, slows_down)
    assert (failure.code, failure.retryable) == ("source_too_slow", is_silence)
    assert len(site.requests) == 2  # a stall is tried once more, not three times
    assert pace.clock.now_s >= 90


@pytest.mark.parametrize("answer", TOO_SLOW)
def test_total_time(site: Site, fetch: Fetcher, pace: Pace, answer: Answer) -> None:
    url = site.on("/v.mp4", lambda x: answer(x, pace))
    failure = fetch.fails(url, **PATIENT | {"timeout_s": 50})
    assert failure.code == "source_too_slow"
    assert " 50 s" in str(failure)
    assert len(site.requests) == 1
    assert pace.clock.now_s >= 50


@pytest.mark.parametrize("answer", TOO_SLOW)
def test_stop(site: Site, fetch: Fetcher, pace: Pace, answer: Answer) -> None:
    """The request was sent when the stop comes."""

    def stop_then(x: Exchange) -> None:
        fetch.stop.set()
        answer(x, pace)

    fetch.stops(site.on("/v.mp4", stop_then), **PATIENT)
    assert len(site.requests) == 1


def test_stop_in_the_middle_of_a_fast_body(site: Site, fetch: Fetcher) -> None:
    def endless(x: Exchange) -> None:
        x.head()
        x.send(bytes(1024**2))
        fetch.stop.set()
        while True:
            x.send(bytes(1024))

    fetch.stops(site.on("/v.mp4", endless), max_bytes=2**40)


def test_stop_before_the_first_request(site: Site, fetch: Fetcher, pace: Pace) -> None:
    fetch.stop.set()
    fetch.stops(site.on("/v.mp4", lambda x: hangs(x, pace)))


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
        closed.append(x.is_gone(LIMIT_S))
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
        release.wait(LIMIT_S)
        return []

    names.answers = {"slow.example": [hang]}
    try:
        if how == "stop":
            fetch.stops("http://slow.example/v.mp4")
        else:
            failure = fetch.fails("http://slow.example/v.mp4", first_byte_s=0.5)
            assert failure.code == "source_too_slow"
    finally:
        release.set()


def test_resumes_after_a_stall(site: Site, fetch: Fetcher, pace: Pace) -> None:
    def rest(x: Exchange) -> None:
        x.reply(
            BODY,
            206,
            Content_Range=f"bytes {len(BODY)}-{2 * len(BODY) - 1}/{2 * len(BODY)}",
            ETag='"1"',
        )

    url = site.on("/v.mp4", lambda x: stalls(x, pace), rest)
    assert fetch(url, **PATIENT | {"stall_s": 50}).resumed == 1
    assert fetch.path.read_bytes() == 2 * BODY


def test_slow_source_above_the_minimum_rate_is_downloaded(
    site: Site, fetch: Fetcher, pace: Pace
) -> None:
    """It takes longer than every limit except the total one, and brings little at a time."""
    pieces = [BODY[:400]] * 30

    def slow(x: Exchange) -> None:
        pace.begin(x, Content_Length=len(b"".join(pieces)))
        for piece in pieces:
            pace.send(x, piece)
            pace.step()

    limits = PATIENT | {"stall_s": 150, "first_byte_s": 100, "min_bytes_per_s": 10}
    assert fetch(site.on("/v.mp4", slow), **limits).size_bytes == len(b"".join(pieces))
    wait_until(lambda: pace.clock.now_s == 300)  # the last step may follow the download's end


@pytest.mark.parametrize("limit", ["stall_s", "timeout_s"])
def test_slow_disk_is_not_counted(
    site: Site, fetch: Fetcher, pace: Pace, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """The pause between two reads is longer than the limit."""
    checks: list[bool] = []

    def is_stopped() -> bool:
        checks.append(False)
        return False

    class Slow(list[tuple[int, int | None]]):
        def append(self, item: tuple[int, int | None]) -> None:
            if not self:
                pace.clock.sleep(250)
                seen = len(checks)
                wait_until(lambda: len(checks) > seen + 1)  # the limits are checked meanwhile
            super().append(item)

    fetch.progress = Slow()
    monkeypatch.setattr(fetch.stop, "is_set", is_stopped)
    url = site.on("/v.mp4", lambda x: x.reply(BODY * 20))
    assert fetch(url, **PATIENT | {limit: 200}).size_bytes == 20 * len(BODY)


@pytest.fixture
def unresponsive_port() -> Iterator[int]:
    """A port whose queue is full: the next connection to it hangs while it is made."""
    with unresponsive_listener("127.0.0.1") as port:
        yield port


def test_many_dead_addresses_leave_time_for_the_next(
    site: Site, fetch: Fetcher, names: Names, unresponsive_port: int
) -> None:
    names.answers = {"many.example": [[*[f"127.0.0.1:{unresponsive_port}"] * 3, site.address]]}
    fetch.allow_hosts |= {f"127.0.0.1:{unresponsive_port}"}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    done = fetch("http://many.example/v.mp4", connect_s=60, first_byte_s=8, max_retries=0)
    assert done.size_bytes == len(BODY)


def test_families_of_addresses_are_tried_in_turn(site: Site, fetch: Fetcher, names: Names) -> None:
    """Resolvers list IPv6 first, which leads nowhere on some machines."""
    names.answers = {"both.example": [[*["::1"] * 40, "127.0.0.1"]]}
    fetch.allow_hosts = {"both.example"}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    with unresponsive_listener("::1", site.port):
        began = time.monotonic()
        fetch(site.url("/v.mp4", "both.example"), connect_s=2, first_byte_s=200)
    assert time.monotonic() - began < 60


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
    assert time.monotonic() - began < 50


def test_no_thread_and_no_connection_is_left(site: Site, fetch: Fetcher, pace: Pace) -> None:
    before = set(threading.enumerate())
    gone: list[Answer] = []
    for answer in (hangs, stalls):

        def note_end(x: Exchange, answer: Answer = answer) -> None:
            answer(x, pace)  # until the connection is closed
            gone.append(answer)

        url = site.on("/v.mp4", note_end)
        assert fetch.fails(url, **LIMITS, max_retries=0).code == "source_too_slow"
    left = {
        thread.name
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("fetch")
    }
    assert left == set()
    wait_until(lambda: gone == [hangs, stalls])
    assert len(site.requests) == 2


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
