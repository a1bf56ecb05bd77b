"""Callers' PATCH of a task: what an owner may change of it."""

import uuid
from collections.abc import Callable, Mapping

from sqlalchemy import case, func, select, update

from worker_server.db import transaction
from worker_server.models import Task
from worker_server.queue import uploads
from worker_server.queue.planning import Editor, change_edit
from worker_server.queue.quotas import Quotas
from worker_server.queue.sql_common import Check, no_check


def change_task(
    owner_id: int,
    task_id: uuid.UUID,
    values: Mapping[str, object],
    default_name: Callable[[str], str],
    editor: Editor | None,
    quotas: Quotas,
    check: Check = no_check,
) -> bool:
    """Set these columns of the task, and its edit by `editor`; all of it or nothing.

    `check` is called once the task is locked; what it raises leaves the task as it is.

    A name of None becomes the default one, by which lists find the task: the upload's, or what
    `default_name` makes of the URL. `quotas` are those of accounts that have none of their own.
    Raise NotPlanned, QuotaExceeded, and what `editor` raises; False when the owner has no such
    task.
    """
    owned = select(Task.url).where(Task.id == task_id, Task.owner_id == owner_id)
    with transaction() as session:
        url = session.scalar(owned.with_for_update())
        if url is None:
            return False
        check()
        columns = dict(values)
        if columns.get("name", "") is None:
            columns["name"] = uploads.default_name(session, url) or default_name(url)
        if columns.get("keep") is False:  # starts the notice period, unless it is running
            columns["unkept_at"] = case((Task.keep, func.now()), else_=Task.unkept_at)
        changed = update(Task).where(Task.id == task_id)
        session.execute(changed.values({**columns, "updated_at": func.now()}))
        if editor is not None:
            change_edit(session, task_id, editor, quotas)
        return True
