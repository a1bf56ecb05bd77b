"""A worker machine whose clock is wrong by hours: it says so, and fails no task by it."""

import http.server
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from idrl_testing.http_servers import serving
from idrl_testing.tls import write_certificate
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.runtime import Runtime
from worker_server.settings import Settings
from worker_testing import submit, task_of

pytestmark = pytest.mark.usefixtures("long_status_timeouts", "no_wakeups", "app")
SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Set this machine's clock to this many seconds ahead of the right time."""
    now = time.time
    return lambda ahead_s: monkeypatch.setattr(time, "time", lambda: now() + ahead_s)


@pytest.fixture
def refused_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a source whose certificate this machine refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(tmp_path, "127.0.0.1"))
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield f"https://127.0.0.1:{server.server_port}/v.mp4"


@pytest.mark.parametrize("ahead_s", [-3 * 3600, 3 * 3600])
def test_certificate_is_checked_by_a_right_clock_only(
    settings: Settings,
    runtime: Runtime,
    database: Database,
    refused_url: str,
    set_clock: SetClock,
    ahead_s: float,
) -> None:
    """To a clock that is wrong a good certificate has expired: every https link failed for good."""
    task_id = submit(refused_url)
    set_clock(ahead_s)
    assert fetch_next(settings, runtime)
    task = task_of(task_id)
    assert (task.status, task.error_code, task.failures) == ("queued", "internal_error", 0)
    set_clock(0)
    database.execute("UPDATE tasks SET run_after = now()")
    assert fetch_next(settings, runtime)
    task = task_of(task_id)
    assert (task.status, task.error_code) == ("failed", "source_tls_invalid")


@pytest.mark.parametrize(("ahead_s", "is_right"), [(-3600, False), (5, True), (20, False)])
def test_ready_shows_a_wrong_clock(
    client: FlaskClient, set_clock: SetClock, ahead_s: float, is_right: bool
) -> None:
    set_clock(ahead_s)
    check = client.get("/ready").get_json()["checks"]["clock"]
    assert check == ({"ok": True} if is_right else {"ok": False, "detail": "ClockDiffers"})
