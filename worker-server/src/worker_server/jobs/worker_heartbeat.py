"""A worker's heartbeat: a thread of its main process updates its row every few seconds."""

import logging
import shutil
import threading
from pathlib import Path

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from worker_server.queue import workers
from worker_server.share_monitor import ShareMonitor
from worker_server.storage import ShareAway

_log = logging.getLogger(__name__)


class WorkerHeartbeat:
    """Sends heartbeats from `start` to `stop`; a process that is killed or frozen sends none.

    Each heartbeat says how much space is left at `scratch`, where the worker has such a folder, and
    whether this machine can use the share, without which the worker lives and claims nothing.
    """

    def __init__(
        self,
        app: Flask,
        name: str,
        kinds: list[str],
        scratch: Path | None = None,
        share: ShareMonitor | None = None,
    ) -> None:
        self._app = app
        self._scratch = scratch
        self._share = share
        self._name = name
        self._kinds = kinds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread, which sends the first heartbeat at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and delete the row of the worker."""
        self._ended.set()
        self._thread.join(2 * workers.HEARTBEAT_EVERY_S)
        try:
            with self._app.app_context():
                workers.leave(self._name)
        except SQLAlchemyError as error:
            _log.warning("worker row not deleted: %s", type(error).__name__)

    def _scratch_free_bytes(self) -> int | None:
        if self._scratch is None:
            return None
        try:
            self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
            return shutil.disk_usage(self._scratch).free
        except OSError as error:
            _log.warning("scratch folder unusable: %s", error.strerror)
            return 0

    def _share_is_unavailable(self) -> bool:
        return self._share is not None and isinstance(self._share.last().error, ShareAway)

    def _beat(self, *, is_first: bool) -> None:
        workers.record_heartbeat(
            self._name,
            self._kinds,
            self._scratch_free_bytes(),
            is_first=is_first,
            is_share_unavailable=self._share_is_unavailable(),
        )

    def _run(self) -> None:
        is_first = True
        while True:
            try:
                with self._app.app_context():
                    self._beat(is_first=is_first)
                is_first = False
            except SQLAlchemyError as error:
                _log.warning("worker heartbeat not recorded: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 # the thread must not end: the worker is alive
                _log.exception("worker heartbeat failed with an unexpected exception")
            if self._ended.wait(workers.HEARTBEAT_EVERY_S):
                return
