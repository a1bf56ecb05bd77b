"""The sweeper's process: `python -m worker_server.sweeper`. It needs PostgreSQL alone.

Steps run in groups, each group in a thread of its own, so that a share or a Redis that hangs holds
up no lease. Several processes may run: an advisory lock lets one at a time do a group, and a frozen
one loses the lock after 30 s, when PostgreSQL ends its idle transaction.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from dotenv import load_dotenv
from flask import Flask
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from idrl_common import logs
from worker_server.app import create_app
from worker_server.db import db
from worker_server.jobs import runtime, sweep
from worker_server.jobs.brands import remove_unneeded_brands
from worker_server.jobs.runtime import worker_name
from worker_server.jobs.uploads import remove_orphaned_uploads, remove_unneeded_uploads
from worker_server.jobs.worker_heartbeat import WorkerHeartbeat
from worker_server.queue import clock_changes, preemption, workers
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor

_log = logging.getLogger(__name__)
# Key of an advisory lock, unique within the database; a group's index is added.
_LOCK = 0x5EE9
_FILES_EVERY_S = 1.0
_WATCH_EVERY_S = 1.0
_MAX_ROUND_S = 120.0

Step = tuple[str, Callable[[], None]]


@dataclass
class Group:
    """Steps of one thread, every `every_s`.

    `round_began` is set during a round (monotonic seconds).
    """

    number: int
    every_s: float
    steps: list[Step]
    ends_process: bool = False
    round_began: float | None = field(default=None, init=False)

    def is_stuck(self) -> bool:
        """Return whether a round is too long; never without `ends_process`: the share may hang."""
        began = self.round_began if self.ends_process else None
        return began is not None and time.monotonic() - began > _MAX_ROUND_S


def groups(settings: Settings, clock: runtime.SweepClock) -> list[Group]:
    """Return the steps by what they wait for: the database alone, Redis, the share."""
    share = ShareMonitor(settings.remote_folder, settings.storage_reserve_bytes)
    fast_interval_s = min(settings.sweep_s, 2.0)
    leases = (workers.LEASES_STEP, partial(sweep.reclaim_leases, settings, clock))
    times = (clock_changes.CLOCK_STEP, partial(sweep.shift_due_times, settings))
    downloads = ("downloads", partial(sweep.preempt, share, preemption.preempt_download))
    renders = ("renders", partial(sweep.preempt, share, preemption.preempt_render))
    wakeups = ("wakeups", partial(sweep.send_wakeups, settings))
    files = ("files", partial(sweep.remove_files, settings))
    uploads = ("uploads", partial(remove_unneeded_uploads, settings))
    brands = ("brands", partial(remove_unneeded_brands, settings))
    orphaned_uploads = ("orphaned_uploads", partial(remove_orphaned_uploads, settings))
    orphans = ("orphans", partial(sweep.remove_orphans, settings, clock))
    expired = ("expired", partial(sweep.delete_expired_tasks, settings))
    counts = ("totals", partial(sweep.fold_totals, settings))
    rows = ("rows", partial(sweep.delete_old_rows, settings))
    return [
        Group(0, settings.sweep_s, [leases, times, downloads, renders], ends_process=True),
        Group(1, fast_interval_s, [wakeups], ends_process=True),
        Group(2, _FILES_EVERY_S, [files, uploads]),
        Group(3, workers.SLOW_INTERVAL_S, [expired, rows, orphans, orphaned_uploads, brands]),
        Group(4, workers.TOTALS_EVERY_S, [counts]),
    ]


def run_round(group: Group, worker: str) -> bool:
    """Do the group's steps, each on its own; False while another process does them."""
    group.round_began = time.monotonic()
    try:
        with _lock(_LOCK + group.number) as is_acquired:
            if is_acquired:
                for name, step in group.steps:
                    _run_step(name, step, worker)
            return is_acquired
    except SQLAlchemyError as error:
        _log.warning("sweep round failed: %s", type(error).__name__)
        return False
    except Exception:  # noqa: BLE001 # the thread must not end: no other one does the group's steps
        _log.exception("sweep round failed with an unexpected exception")
        return False
    finally:
        group.round_began = None


def _run_step(name: str, step: Callable[[], None], worker: str) -> None:
    error_name = None
    try:
        step()
    except Exception as error:  # noqa: BLE001 # a step that fails must not keep the others from running
        error_name = type(error).__name__
        _log.exception("sweep step failed", extra={"step": name})
    workers.record_step(name, worker, error_name)


@contextmanager
def _lock(key: int) -> Iterator[bool]:
    """Hold a PostgreSQL advisory lock for the block; False where another session has it."""
    connection = db.engine.connect()
    try:
        yield bool(connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}))
    finally:
        _release(connection)


def _release(connection: Connection) -> None:
    """End the lock's transaction.

    After a long round PostgreSQL may have ended it (idle_in_transaction_session_timeout); the steps
    are safe without the lock.
    """
    try:
        connection.rollback()
    except SQLAlchemyError:
        connection.invalidate()
    connection.close()


class Sweeper:
    """The groups' threads, and the watchdog that ends the process when one hangs or has ended."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._stopping = threading.Event()
        self._groups = groups(settings, runtime.attach(app).sweep_clock)
        self._heartbeat = WorkerHeartbeat(app, worker_name(), ["sweeper"])

    def run(self) -> None:
        """Sweep until `stop` is called.

        A group that hangs, or whose thread has ended, ends the process, to be started again.
        """
        self._heartbeat.start()
        threads = [self._start(group) for group in self._groups]
        while not self._stopping.wait(_WATCH_EVERY_S):
            stuck = [group.steps[0][0] for group in self._groups if group.is_stuck()]
            ended = [thread.name for thread in threads if not thread.is_alive()]
            if stuck or ended:
                steps = {"hanging": stuck, "ended": ended}
                _log.critical("steps of the sweeper stand still: the process ends", extra=steps)
                os._exit(1)
        self._heartbeat.stop()

    def stop(self, *_: object) -> None:
        """End `run`; what a thread is doing is safe to break off."""
        self._stopping.set()

    def _start(self, group: Group) -> threading.Thread:
        name = group.steps[0][0]
        thread = threading.Thread(target=self._loop, args=(group,), name=name, daemon=True)
        thread.start()
        return thread

    def _loop(self, group: Group) -> None:
        while not self._stopping.is_set():
            with self._app.app_context():
                run_round(group, worker_name())
            self._stopping.wait(group.every_s)


def main() -> None:
    load_dotenv()
    settings = Settings()
    logs.configure("sweeper", settings.log_level)
    sweeper = Sweeper(create_app(settings), settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, sweeper.stop)
    _log.info("sweeper started")
    sweeper.run()


if __name__ == "__main__":
    main()
