"""What the API reads of tasks: prepared queries, one round trip and one JSON text each."""

import uuid
from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

from sqlalchemy import func, select

from worker_server.api import long_documents
from worker_server.db import PreparedQuery, db, fetch_json
from worker_server.models.statuses import PartStatus
from worker_server.queue.retention import NOTICE_DAYS


def rfc3339(time: str) -> str:
    """Return the SQL of a time as callers get it: in UTC, to the millisecond."""
    return f"""to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


def microseconds(time: str) -> str:
    """Return the SQL of a time as microseconds since 1970."""
    return f"(extract(epoch FROM {time}) * 1000000)::bigint"


_NOTICE = f"interval '{NOTICE_DAYS} days'"
_TIMES = ", ".join(
    f"{rfc3339(f'tasks.{name}')} AS {name}"
    for name in (
        *("created_at", "started_at", "start_requested_at"),
        *("finished_at", "updated_at", "run_after"),
    )
)
_ENDED_AT = "coalesce(tasks.finished_at, tasks.planned_at)"
# LATERAL computes once per row when the task expires; null if never. It does not expire before
# NOTICE_DAYS have passed since RETENTION_DAYS was changed, and since `keep` was switched off.
EXPIRY = f"""LEFT JOIN LATERAL (
        SELECT at, at <= now() + {_NOTICE} AS is_soon FROM (
            SELECT greatest({_ENDED_AT} + make_interval(days => days), since + {_NOTICE},
                tasks.unkept_at + {_NOTICE}) AS at
            FROM retention WHERE days > 0 AND NOT tasks.keep AND {_ENDED_AT} IS NOT NULL
        ) AS expiring
    ) AS expiry ON true"""  # noqa: S608 # made of constants
FACTS = f"""tasks.id, tasks.url, tasks.name, tasks.external_id, tasks.metadata,
    tasks.status, tasks.progress, tasks.attempt,
    tasks.error_code, tasks.error_message, tasks.callback_url,
    tasks.source, tasks.canceled_in_ms, tasks.freed_bytes, tasks.keep, tasks.starts_manually,
    {rfc3339("expiry.at")} AS expires_at,
    coalesce(expiry.is_soon, false) AS expires_soon, {_TIMES}"""
# A row's version is its xmin, the id of the transaction that wrote it. A task's document depends on
# its parts too, whose xmin only grow, so their count and sum identify them, and on its expiry.
PARTS_VERSION = "count(*) || ' ' || coalesce(sum(parts.xmin::text::bigint), 0)"
_EXPIRY_VERSION = "coalesce(expiry.at || ' ' || expiry.is_soon, '')"
_NEXT_TRY = (
    f"min(run_after) FILTER (WHERE status = '{PartStatus.WAITING}' AND error_code IS NOT NULL)"
)
_TOTALS = f"""count(*) AS parts_total,
    count(*) FILTER (WHERE status = '{PartStatus.DONE}') AS parts_done,
    coalesce(avg(progress), 0)::float8 AS parts_progress,
    min(error_code) FILTER (WHERE status = '{PartStatus.WAITING}') AS parts_waiting_for,
    {rfc3339(_NEXT_TRY)} AS parts_waiting_until,
    {PARTS_VERSION} AS parts_version"""
# PostgreSQL builds the JSON text: psycopg2 would make a Python object of each column.
_TASK = PreparedQuery(
    "fetch_task",
    "uuid, bigint",
    f"""
    SELECT row_to_json(task)::text FROM (
        SELECT {FACTS}, tasks.edit, of_task.*,
            concat_ws(' ', tasks.xmin, {_EXPIRY_VERSION}, parts_version) AS row_version
        FROM tasks {EXPIRY} CROSS JOIN LATERAL (
            SELECT coalesce(json_agg(json_build_object(
                'number', number, 'segment', segment, 'name', name, 'status', status,
                'progress', progress, 'start_s', start_s, 'end_s', end_s, 'attempt', attempt,
                'size_bytes', size_bytes, 'sha256', sha256, 'frames', frames,
                'rendered_by', rendered_by, 'concealed_frames', concealed_frames,
                'error_code', error_code, 'error_message', error_message
            ) ORDER BY number), '[]') AS parts, {_TOTALS}
            FROM parts WHERE task_id = tasks.id
        ) AS of_task
        WHERE tasks.id = $1 AND owner_id = $2
    ) AS task
    """,  # noqa: S608 # made of constants
)
_PARTS_TOTAL = PreparedQuery(
    "count_parts",
    "uuid, bigint",
    """
    SELECT to_json(count(*))::text FROM tasks JOIN parts ON task_id = tasks.id
    WHERE tasks.id = $1 AND tasks.owner_id = $2
    """,
)
_TASK_ROW_VERSION = PreparedQuery(
    "fetch_task_version",
    "uuid, bigint",
    f"""
    SELECT to_json(concat_ws(' ', tasks.xmin, {_EXPIRY_VERSION}, (
        SELECT {PARTS_VERSION} FROM parts WHERE task_id = tasks.id
    )))::text FROM tasks {EXPIRY} WHERE tasks.id = $1 AND owner_id = $2
    """,  # noqa: S608 # made of constants
)
# For a list, where `tasks` is a subquery: it has no system column xmin, so it selects `row_xmin`.
ROW_VERSION = f"concat_ws(' ', tasks.id, row_xmin, {_EXPIRY_VERSION}, parts_version)"
CREATED_US = microseconds("tasks.created_at")
LIST_FACTS = f"{FACTS}, {CREATED_US} AS created_us, {ROW_VERSION} AS row_version"
PARTS_TOTALS = f"SELECT {_TOTALS} FROM parts WHERE task_id = tasks.id"  # noqa: S608 # constants


class TaskNotFound(Exception):
    """There is no such task, or another owner has it: callers must not be able to tell which."""

    def __init__(self) -> None:
        super().__init__("There is no task with this id.")


class PartFacts(TypedDict):
    """A part as the database returns it."""

    number: int
    segment: int | None
    name: str | None
    status: str
    progress: int
    start_s: float
    end_s: float
    attempt: int
    size_bytes: int | None
    sha256: str | None
    frames: int | None
    rendered_by: str | None
    concealed_frames: int | None
    error_code: str | None
    error_message: str | None


class TaskFacts(TypedDict):
    """A task as the database returns it; times are as callers get them."""

    id: str
    url: str
    name: str | None
    external_id: str | None
    metadata: dict[str, Any] | None
    edit: NotRequired[dict[str, Any] | None]  # absent in lists
    callback_url: str | None
    status: str
    progress: int
    attempt: int
    error_code: str | None
    error_message: str | None
    source: dict[str, Any] | None
    canceled_in_ms: int | None
    freed_bytes: int | None
    run_after: str
    created_at: str
    started_at: str | None
    start_requested_at: str | None
    finished_at: str | None
    updated_at: str
    keep: bool
    starts_manually: bool
    expires_at: str | None
    expires_soon: bool


class CountedTask(TaskFacts):
    """A task with the totals of its parts; `parts_progress` is their mean (0 to 100).

    `parts_waiting_for` is the error code for which one of them waits for another attempt,
    `parts_waiting_until` when that begins.
    """

    parts_total: int
    parts_done: int
    parts_progress: float
    parts_waiting_for: str | None
    parts_waiting_until: str | None


class TaskWithParts(CountedTask):
    """A task with its parts in order, none until the source is probed.

    `row_version` changes whenever the task's row or a part's does.
    """

    row_version: str
    parts: list[PartFacts]


class ListedTask(CountedTask):
    """A task of a list; `created_us` is exact, unlike `created_at`.

    `row_version` changes whenever the task's row or a part's does.
    """

    row_version: str
    created_us: int


def task_version(owner_id: int, task_id: uuid.UUID, fetch: Callable[..., Any] = fetch_json) -> str:
    """Return what changes whenever the task's row or a part's does; raise TaskNotFound."""
    version: str | None = fetch(_TASK_ROW_VERSION, str(task_id), owner_id)
    if version is None:
        raise TaskNotFound
    return version


def get_task(
    owner_id: int, task_id: uuid.UUID, fetch: Callable[..., Any] = long_documents.fetch_json
) -> TaskWithParts:
    """Return the task; raise TaskNotFound."""
    task: TaskWithParts | None = fetch(_TASK, str(task_id), owner_id)
    if task is None:
        raise TaskNotFound
    return task


def await_memory(owner_id: int, task_id: uuid.UUID) -> None:
    """Wait until there is memory for the task's document; raise a 503 Problem where it takes long.

    To be called before a change whose answer is the document, outside of its transaction.
    """
    long_documents.await_memory(fetch_json(_PARTS_TOTAL, str(task_id), owner_id))


def database_uptime_s() -> float:
    """Return for how many seconds PostgreSQL has run."""
    uptime = func.clock_timestamp() - func.pg_postmaster_start_time()
    return float(db.session.scalar(select(func.extract("epoch", uptime))) or 0)
