"""What the API reads of batches: prepared queries, one round trip and one JSON text each."""

import uuid
from collections.abc import Callable
from typing import Any, TypedDict

from idrl_common.cursors import Position
from worker_server.api.queries import microseconds, rfc3339
from worker_server.db import PreparedQuery, fetch_json
from worker_server.models.statuses import TaskStatus

# The same progress as in task documents; failed and canceled tasks count as 100.
_PROGRESS = f"""CASE
    WHEN status = '{TaskStatus.PROCESSING}' THEN least(99, 10 + 0.9 * coalesce(
        (SELECT avg(progress) FROM parts WHERE task_id = tasks.id), 0))
    WHEN status = '{TaskStatus.PLANNED}' THEN 10
    WHEN status IN ('{TaskStatus.QUEUED}', '{TaskStatus.DOWNLOADING}') THEN 0.1 * progress
    ELSE 100 END"""  # noqa: S608 # made of constants
_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE status = '{status}') AS {status}" for status in TaskStatus
)
_COLUMNS = f"""batches.id, batches.name, batches.callback_url,
    {rfc3339("batches.created_at")} AS created_at,
    {microseconds("batches.created_at")} AS created_us, totals.*"""
_TOTALS = f"""LATERAL (
        SELECT count(*) AS total, {_COUNTS}, coalesce(avg({_PROGRESS}), 100)::float8 AS progress
        FROM tasks WHERE batch_id = batches.id
    ) AS totals"""  # noqa: S608 # made of constants
_BATCH = PreparedQuery(
    "fetch_batch",
    "uuid, bigint",
    f"""
    SELECT row_to_json(batch)::text FROM (
        SELECT {_COLUMNS}, (
            SELECT json_agg(id ORDER BY created_at, id) FROM tasks WHERE batch_id = batches.id
        ) AS task_ids FROM batches CROSS JOIN {_TOTALS} WHERE batches.id = $1 AND owner_id = $2
    ) AS batch
    """,  # noqa: S608 # made of constants
)
_PAGE = f"""
    SELECT json_agg(batch)::text FROM (
        SELECT {_COLUMNS} FROM (
            SELECT * FROM batches WHERE owner_id = $1 {{condition}}
            ORDER BY created_at DESC, id DESC LIMIT $2
        ) AS batches CROSS JOIN {_TOTALS} ORDER BY batches.created_at DESC, batches.id DESC
    ) AS batch
"""  # noqa: S608 # made of constants
_FIRST_PAGE = PreparedQuery("batches", "bigint, bigint", _PAGE.format(condition=""))
_NEXT_PAGE = PreparedQuery(
    "batches_cursor",
    "bigint, bigint, timestamptz, uuid",
    _PAGE.format(condition="AND (created_at, id) < ($3, $4)"),
)


class BatchNotFound(Exception):
    """There is no such batch, or another owner has it: callers must not be able to tell which."""

    def __init__(self) -> None:
        super().__init__("There is no batch with this id.")


class BatchRow(TypedDict):
    """A batch as the database returns it, and the number of its tasks in each status."""

    id: str
    name: str | None
    callback_url: str | None
    created_at: str
    created_us: int
    total: int
    progress: float


def get_batch(
    owner_id: int, batch_id: uuid.UUID, fetch: Callable[..., Any] = fetch_json
) -> tuple[BatchRow, list[str]]:
    """Return the batch and the ids of its tasks in order; raise BatchNotFound."""
    batch: Any = fetch(_BATCH, str(batch_id), owner_id)
    if batch is None:
        raise BatchNotFound
    return batch, batch["task_ids"] or []


def list_batches(owner_id: int, limit: int, after: Position | None) -> list[BatchRow]:
    """Return the owner's batches after the position, newest first."""
    if after is None:
        return fetch_json(_FIRST_PAGE, owner_id, limit) or []
    position = (after.created_at, str(after.row_id))
    return fetch_json(_NEXT_PAGE, owner_id, limit, *position) or []
