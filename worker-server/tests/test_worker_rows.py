"""The rows of workers: a process may have the name of the one that was killed before it."""

from pathlib import Path
from time import sleep
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.event import listen, remove

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server import share_monitor
from worker_server.db import db
from worker_server.jobs.worker_heartbeat import WorkerHeartbeat
from worker_server.queue import workers
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor
from worker_server.storage import MARKER
from worker_testing import beating

pytestmark = pytest.mark.usefixtures("long_status_timeouts", "lasting_heartbeats")
# In a container every process of a worker has this pid, and each restart the same host name.
NAME = "0f3a5c7e9b1d:1"


@pytest.fixture
def killed(app: Flask, database: Database) -> None:
    """A worker that was killed an hour after its start, with a fault."""
    with app.app_context():
        workers.record_heartbeat(NAME, ["render"])
        workers.record_fault(NAME, "internal_error")
    database.execute("UPDATE workers SET started_at = now() - interval '1 h'")


@pytest.mark.usefixtures("killed")
def test_restart_under_the_same_name_is_a_start(
    app: Flask, client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HEARTBEAT_EVERY_S", 0.05)
    of = ("render", "0f3a5c7e9b1d")
    before = workers.liveness().started_at[of]
    with beating(WorkerHeartbeat(app, NAME, ["render"])):
        wait_until(lambda: workers.liveness().started_at[of] > before + 3000)
        assert workers.liveness().faults == {}
        assert b"idrl_worker_faults 0.0" in client.get("/metrics").data
        started_at = workers.liveness().started_at
        seen_at = database.execute("SELECT seen_at FROM workers")
        wait_until(lambda: database.execute("SELECT seen_at FROM workers") > seen_at)
        assert workers.liveness().started_at == started_at


@pytest.mark.usefixtures("app")
def test_end_of_a_worker_is_no_start_of_another(client: FlaskClient, database: Database) -> None:
    """One time for all machines changed with each of them that was stopped."""

    def starts() -> set[str]:
        lines = client.get("/metrics").get_data(as_text=True).splitlines()
        return {line for line in lines if line.startswith("idrl_worker_start_time_seconds{")}

    workers.record_heartbeat("first:1", ["render"])
    database.execute("UPDATE workers SET started_at = now() - interval '1 h'")
    workers.record_heartbeat("second:1", ["render"])
    before = starts()
    workers.leave("second:1")
    after = starts()
    assert len(after) == 1
    assert after < before


@pytest.mark.usefixtures("killed", "app")
def test_later_heartbeats_keep_start_and_fault() -> None:
    before = workers.liveness()
    workers.record_heartbeat(NAME, ["render"], 7)
    after = workers.liveness()
    assert (after.started_at, after.faults) == (before.started_at, before.faults)
    assert after.scratch_free_bytes == {NAME: 7}


@pytest.mark.usefixtures("database")
def test_worker_reports_that_its_machine_lacks_the_share(
    app: Flask, client: FlaskClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HEARTBEAT_EVERY_S", 0.05)
    monkeypatch.setattr(share_monitor, "_FRESH_S", 0)
    marker = settings.remote_folder / MARKER
    monitor = ShareMonitor(settings.remote_folder, settings.storage_reserve_bytes)
    with beating(WorkerHeartbeat(app, NAME, ["render"], share=monitor)):
        wait_until(lambda: "render" in workers.liveness().workers)
        assert workers.liveness().faults == {}
        marker.unlink()
        wait_until(lambda: workers.liveness().faults == {NAME: "storage_unavailable"})
        assert b"idrl_worker_faults 1.0" in client.get("/metrics").data
        marker.touch()
        wait_until(lambda: workers.liveness().faults == {})
        workers.record_fault(NAME, "internal_error")
        marker.unlink()
        sleep(0.5)
        assert workers.liveness().faults == {NAME: "internal_error"}


@pytest.mark.parametrize("is_unavailable", [False, True])
def test_beat_writes_and_reads_nothing_else(
    app: Flask, database: Database, *, is_unavailable: bool
) -> None:
    monitor = ShareMonitor(Path("/dev/null/share"), 0)
    heartbeat = WorkerHeartbeat(app, NAME, ["render"], share=monitor if is_unavailable else None)
    monitor.check()
    statements: list[str] = []

    def note(*event: Any) -> None:  # noqa: ANN401 # SQLAlchemy's six
        statements.append(event[2])

    with app.app_context():
        workers.record_heartbeat(NAME, ["render"])
        listen(db.engine, "before_cursor_execute", note)
        heartbeat.start()
        seen_at = database.execute("SELECT seen_at FROM workers")
        wait_until(lambda: database.execute("SELECT seen_at FROM workers") != seen_at)
        heartbeat.stop()
        remove(db.engine, "before_cursor_execute", note)
    # Each heartbeat is SET LOCAL synchronous_commit and INSERT … ON CONFLICT; the last statement
    # deletes the row.
    assert {statement.split()[0] for statement in statements} == {"SET", "INSERT", "DELETE"}


@pytest.mark.usefixtures("killed", "app")
def test_lack_of_the_share_replaces_only_faults_of_an_earlier_process(database: Database) -> None:
    workers.record_heartbeat(NAME, ["render"], is_share_unavailable=True)
    assert workers.liveness().faults == {NAME: "internal_error"}
    workers.record_heartbeat(NAME, ["render"], is_first=True, is_share_unavailable=True)
    assert workers.liveness().faults == {NAME: "storage_unavailable"}
    since = database.execute("SELECT fault_at FROM workers WHERE fault_at IS NOT NULL")
    workers.record_heartbeat(NAME, ["render"], is_share_unavailable=True)
    assert database.execute("SELECT fault_at FROM workers") == since
    workers.record_heartbeat(NAME, ["render"])
    assert database.execute("SELECT fault_code, fault_at FROM workers") == [(None, None)]


@pytest.mark.usefixtures("app")
def test_new_worker_without_the_share_reports_it_at_once() -> None:
    workers.record_heartbeat(NAME, ["render"], is_first=True, is_share_unavailable=True)
    assert workers.liveness().faults == {NAME: "storage_unavailable"}


@pytest.mark.usefixtures("app")
def test_row_of_a_killed_worker_is_deleted_after_a_day(database: Database) -> None:
    names = ("killed:1", "killed:2", "alive:1")
    for name in names:
        workers.record_heartbeat(name, ["render"])
    ages = {"killed:1": "25 h", "killed:2": "23 h"}
    for name, age in ages.items():
        database.execute(
            f"UPDATE workers SET seen_at = now() - interval '{age}' WHERE name = '{name}'"
        )
    workers.delete_dead()
    rows = database.execute("SELECT name FROM workers ORDER BY name")
    assert rows == [("alive:1",), ("killed:2",)]
