"""An upload that expires while a task is given it: the accepted task keeps its file."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from upload_testing import CONTENT, Uploads

from idrl_testing.database import Database
from worker_server.jobs.uploads import remove_unneeded_uploads
from worker_server.queue import callbacks, uploads as upload_rows
from worker_server.queue.callbacks import add_for_tasks
from worker_server.queue.sql_common import ScopedSession
from worker_server.queue.uploads import use_for_task
from worker_server.settings import Settings

Auth = Callable[..., dict[str, str]]


def test_upload_that_expires_while_a_task_is_accepted_stays(
    app: Flask,
    settings: Settings,
    uploads: Uploads,
    auth: Auth,
    share: Path,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload_id = uploads.whole(CONTENT)

    def sweep() -> None:
        with app.app_context():
            remove_unneeded_uploads(settings)

    def use_late(session: ScopedSession, owner_id: int, url: str, task_id: uuid.UUID) -> str | None:
        """Let the upload expire once the transaction has begun, whose now() is its beginning."""
        database.execute("UPDATE uploads SET expires_at = now()")
        return use_for_task(session, owner_id, url, task_id)

    def add_late(session: ScopedSession, owner_id: int, urls: dict[uuid.UUID, str | None]) -> None:
        """Let the sweeper come between the last statement and the commit."""
        with ThreadPoolExecutor(1) as pool:
            pool.submit(sweep).result()
        add_for_tasks(session, owner_id, urls)

    monkeypatch.setattr(upload_rows, "use_for_task", use_late)
    monkeypatch.setattr(callbacks, "add_for_tasks", add_late)
    answer = uploads.client.post("/tasks", json={"upload_id": upload_id}, headers=auth())
    assert answer.status_code == 202
    assert (share / "uploads" / upload_id).read_bytes() == CONTENT
    assert database.execute("SELECT removed_at FROM uploads") == [(None,)]
