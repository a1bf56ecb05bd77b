"""A system that goes away in the middle of `idrl clip`, and comes back or does not."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from idrl_client import Client, Unreachable, clipping, connection
from idrl_client.clipping import Job
from idrl_local import servers
from idrl_testing import site as web_site
from idrl_testing.clocks import Clock
from idrl_testing.http_servers import serving
from idrl_testing.site import Request, Site

ACCOUNT = b'{"live_tasks": 0, "username": "ada"}'
BUSY = json.dumps({"status": 503, "code": "too_busy", "detail": "A sentence."}).encode()


class _System(BaseHTTPRequestHandler):
    """Closes each connection after its answer: the next call makes a new one."""

    def do_GET(self) -> None:
        self._send(200, ACCOUNT)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(201, b'{"key": "k"}')

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the library's
        """Log nothing."""


@contextmanager
def serve(port: int) -> Iterator[None]:
    with serving(ThreadingHTTPServer(("127.0.0.1", port), _System)):
        yield


@pytest.fixture
def port() -> int:
    return servers.free_port()


def client_of(port: int, patience_s: float) -> Client:
    """Return a client that the system has answered, and which is stopped now."""
    client = Client(f"http://127.0.0.1:{port}", "k", patience_s=patience_s)
    with serve(port):
        client.usage()
    return client


def test_call_that_never_arrived_is_repeated_whatever_it_does(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection has carried nothing: a second call makes no second key."""
    client = client_of(port, 30)
    with ExitStack() as stack:

        class ClockOfRestart(Clock):
            def sleep(self, for_s: float) -> None:
                """Let the system be back by the end of the client's pause."""
                super().sleep(for_s)
                stack.enter_context(serve(port))

        clock = ClockOfRestart()
        monkeypatch.setattr(connection, "time", clock)
        assert client.create_key("nightly")["key"] == "k"
    assert clock.now_s == 0.5


@pytest.fixture
def busy() -> Iterator[Site]:
    with web_site.serve() as site:
        for number in range(20):
            site.add(f"tasks/{number}", answer=lambda request: request.send(503, BUSY))
        yield site


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The client's clock."""
    clock = Clock()
    monkeypatch.setattr(connection, "time", clock)
    return clock


@pytest.mark.parametrize("is_gone", [False, True])
def test_system_that_stays_unavailable_is_waited_for_once(
    port: int, busy: Site, clock: Clock, *, is_gone: bool
) -> None:
    """With 20 videos it took 20 times the 15 minutes until the command gave up."""
    client = client_of(port, 60.0) if is_gone else Client(busy.url, "k", patience_s=60.0)
    jobs = [Job(f"https://a.example/{n}", task_id=str(n)) for n in range(20)]
    clipping.follow(client, jobs, None, print)
    assert 0 < clock.now_s <= 60
    assert all(isinstance(job.error, Unreachable) for job in jobs)


def test_system_that_is_back_is_waited_for_again(busy: Site, clock: Clock) -> None:
    def busy_once(request: Request) -> None:
        request.send(503, BUSY) if request.count == 1 else request.send(200, ACCOUNT)

    busy.add("me", ACCOUNT)
    busy.add("usage", answer=busy_once)
    client = Client(busy.url, "k", patience_s=1.0)
    with pytest.raises(Unreachable):
        client.task("0")
    given_up_s = clock.now_s
    client.account()
    assert client.usage() == json.loads(ACCOUNT)
    assert clock.now_s == given_up_s + 0.5
