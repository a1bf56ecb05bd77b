"""What accounts use: live tasks and bytes at the moment, seconds of video by day (UTC).

Seconds are counted when they are planned or rendered, so that deleting a task gives none back.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import BigInteger, and_, cast, func, or_, select, text

from worker_server.db import transaction
from worker_server.models import Part, Task, Upload
from worker_server.models.statuses import LIVE_AFTER_QUEUE, TaskStatus
from worker_server.queue.sql_common import ScopedSession

DAY_S = 86_400
# What no call reads any more is kept for operators who compare a month with that of a year ago.
KEPT_DAYS = 400
UPLOAD_IS_UNUSED = and_(
    Upload.task_id.is_(None),
    Upload.deleted_at.is_(None),
    Upload.removed_at.is_(None),
    Upload.expires_at > func.now(),
)
_TODAY = "(now() AT TIME ZONE 'UTC')::date"
_READ = text(f"""
    SELECT coalesce(sum(planned_s) FILTER (WHERE day = {_TODAY}), 0) AS planned_s,
        coalesce(sum(rendered_s), 0) AS rendered_s,
        ceil(extract(epoch FROM ({_TODAY} + 1)::timestamp - now() AT TIME ZONE 'UTC')) AS ends_in_s
    FROM usage_days
    WHERE owner_id = :owner_id AND day >= date_trunc('month', now() AT TIME ZONE 'UTC')::date
""")  # noqa: S608 # made of constants
_ADD_PLANNED = text(f"""
    INSERT INTO usage_days AS usage (owner_id, day, planned_s)
    SELECT :owner_id, {_TODAY}, :seconds WHERE :quota = 0 OR :seconds <= :quota
    ON CONFLICT (owner_id, day) DO UPDATE SET planned_s = usage.planned_s + :seconds
    WHERE :quota = 0 OR usage.planned_s + :seconds <= :quota
    RETURNING 1
""")  # safe to format: only constants are inserted
# `started_at` is when the first attempt began, so only parts with one attempt tell the speed.
_ADD_RENDERED = text(f"""
    INSERT INTO usage_days AS usage (owner_id, day, rendered_s, timed_s, busy_s)
    SELECT owner_id, {_TODAY}, end_s - start_s,
        CASE WHEN attempt = 1 THEN end_s - start_s ELSE 0 END,
        CASE WHEN attempt = 1 THEN greatest(extract(epoch FROM now() - started_at), 0) ELSE 0 END
    FROM parts WHERE task_id = :task_id AND number = :number
    ON CONFLICT (owner_id, day) DO UPDATE SET
        rendered_s = usage.rendered_s + excluded.rendered_s,
        timed_s = usage.timed_s + excluded.timed_s,
        busy_s = usage.busy_s + excluded.busy_s
""")  # noqa: S608 # made of constants
# SKIP LOCKED: waiting for a row while holding others could deadlock with an account's deletion.
_DELETE_OLD = text(f"""
    DELETE FROM usage_days WHERE (owner_id, day) IN (
        SELECT owner_id, day FROM usage_days WHERE day < {_TODAY} - {KEPT_DAYS}
        ORDER BY day LIMIT :limit FOR UPDATE SKIP LOCKED
    )
""")  # noqa: S608 # made of constants
# In one statement; PostgreSQL ends it after 10 s.
_BATCH_SIZE = 10_000


@dataclass(frozen=True)
class Seconds:
    """Seconds of video: planned today, rendered this month; and when the day ends."""

    planned_s: float
    rendered_s: float
    ends_in_s: int


def count_live_tasks(session: ScopedSession, owner_id: int) -> int:
    """Return how many live tasks the account has."""
    # In two counts: queued tasks have an index by owner, the others are few in the whole system.
    owned = select(func.count()).where(Task.owner_id == owner_id)
    queued = owned.where(Task.status == TaskStatus.QUEUED).scalar_subquery()
    others = owned.where(Task.status.in_(LIVE_AFTER_QUEUE)).scalar_subquery()
    return session.scalar(select(queued + others)) or 0


def sum_clip_bytes(session: ScopedSession, owner_id: int) -> int:
    """Return how many bytes the account's clips take."""
    clips = (Part.owner_id == owner_id, Part.size_bytes.is_not(None))  # in an index of its own
    used = select(func.coalesce(func.sum(Part.size_bytes), 0)).where(*clips)
    return int(session.scalar(used) or 0)


def sum_source_bytes(session: ScopedSession, owner_id: int) -> int:
    """Return how many bytes the sources of tasks take that wait, planned, for their caller.

    Sources of other tasks are removed with their last part; uploaded files count as uploads.
    """
    waiting = (
        Task.owner_id == owner_id,
        Task.status == TaskStatus.PLANNED,
        Task.url.not_like("upload:%"),
    )
    size_bytes = cast(Task.source["size_bytes"].astext, BigInteger)
    return int(session.scalar(select(func.coalesce(func.sum(size_bytes), 0)).where(*waiting)) or 0)


def sum_upload_bytes(
    session: ScopedSession, owner_id: int, without: Collection[uuid.UUID] = ()
) -> int:
    """Return how many bytes the account's uploads take, also those that are still to come.

    Uploads of tasks count while their file is kept: otherwise each task would free its quota. The
    uploads `without` are left out.
    """
    is_kept = and_(Upload.deleted_at.is_(None), Upload.removed_at.is_(None))
    is_used = and_(Upload.task_id.is_not(None), is_kept)
    used = select(func.coalesce(func.sum(Upload.length_bytes), 0)).where(
        Upload.owner_id == owner_id, or_(UPLOAD_IS_UNUSED, is_used), Upload.id.not_in(without)
    )
    return int(session.scalar(used) or 0)


def today(session: ScopedSession, owner_id: int) -> Seconds:
    """Return the account's seconds of today and of this month."""
    row = session.execute(_READ, {"owner_id": owner_id}).one()
    return Seconds(float(row.planned_s), float(row.rendered_s), int(row.ends_in_s))


def add_planned(session: ScopedSession, owner_id: int, seconds: float, quota: int) -> bool:
    """Count planned seconds; False, and nothing is counted, where that exceeds the day's quota."""
    values = {"owner_id": owner_id, "seconds": seconds, "quota": quota}
    return session.execute(_ADD_PLANNED, values).one_or_none() is not None


def add_rendered(session: ScopedSession, task_id: uuid.UUID, number: int) -> None:
    """Count the seconds of a part that is done."""
    session.execute(_ADD_RENDERED, {"task_id": task_id, "number": number})


def delete_old_days() -> None:
    """Remove days before the last KEPT_DAYS, oldest first; what is left waits for the next call."""
    with transaction() as session:
        session.execute(_DELETE_OLD, {"limit": _BATCH_SIZE})
