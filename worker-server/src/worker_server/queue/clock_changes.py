"""Times written before PostgreSQL's clock was set back: nothing waits until they come again.

A machine may start with a wrong clock, which NTP then sets back by hours.
"""

from typing import Any

from sqlalchemy import ColumnElement, func, update
from sqlalchemy.orm import InstrumentedAttribute

from idrl_common.database import clock_ahead_s
from worker_server.db import retry_outages, transaction
from worker_server.models import Part, Removal, Sweep, Task, Webhook, WebhookDelivery, Worker
from worker_server.models.statuses import DeliveryStatus, PartStatus, TaskStatus
from worker_server.queue import workers
from worker_server.queue.planning import NEVER
from worker_server.queue.sql_common import seconds_from_now

# Name of the sweeper's step; its last success is a time that the clock has shown.
CLOCK_STEP = "clock"
# Less, as after a failover to another machine, delays no work noticeably.
_TOLERATED_S = 1.0
_LEASED_TASKS = (TaskStatus.DOWNLOADING, TaskStatus.CANCELING)


def shift_due_times() -> float:
    """Move what lies ahead by as much as the clock was set back since the step `CLOCK_STEP`.

    Return these seconds, 0 where it was not set back. Where the step fails and is repeated, work
    may become due early, but no lease ends early: those written since the change stay.
    """
    age_s = workers.step_age_s(CLOCK_STEP)
    if age_s is None or age_s > -_TOLERATED_S:
        return 0.0
    back_s = -age_s
    _move(Task.run_after, back_s, Task.status == TaskStatus.QUEUED)
    _move(Part.run_after, back_s, Part.status == PartStatus.WAITING, Part.run_after < NEVER)
    _move(Removal.run_after, back_s)
    _move(WebhookDelivery.run_after, back_s, WebhookDelivery.status == DeliveryStatus.WAITING)
    _move(Webhook.busy_until, back_s)
    _move(Worker.seen_at, back_s)
    written_before = seconds_from_now(back_s)
    is_leased = Task.status.in_(_LEASED_TASKS)
    _move(Task.lease_until, back_s, is_leased, Task.lease_until > written_before)
    is_rendered = Part.status == PartStatus.RENDERING
    _move(Part.lease_until, back_s, is_rendered, Part.lease_until > written_before)
    _move(Sweep.done_at, back_s)  # the last one: it has this step's own time
    return back_s


@retry_outages
def machine_ahead_s() -> float:
    """Return by how many seconds this machine's clock is ahead of the database's."""
    with transaction() as session:
        return clock_ahead_s(session)


def _move(column: InstrumentedAttribute[Any], back_s: float, *where: ColumnElement[bool]) -> None:
    """Change one table in a transaction of its own, so that no two tables' locks are held."""
    earlier = column - func.make_interval(0, 0, 0, 0, 0, 0, back_s)
    ahead = update(column.class_).where(column > func.now(), *where)
    with transaction() as session:
        session.execute(ahead.values({column: earlier}))
