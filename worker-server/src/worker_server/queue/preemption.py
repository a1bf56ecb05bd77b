"""Preemption: work returns to the queue for an owner who waits, at its worker's next heartbeat.

A part of a long task is preempted for a new task's first part where every render slot is busy:
first parts are claimed next anyway, but a render that has just begun keeps its slot for the time of
a whole part (decision 0033). A download or a render is preempted where its owner has more than half
of them while another owner waits: a slow link or a heavy part may take an hour.
"""

import uuid
from collections.abc import Mapping
from typing import TypeVar

from sqlalchemy import TextClause

from worker_server.db import transaction
from worker_server.limits import LARGE_SIDE
from worker_server.queue import totals
from worker_server.queue.claims import PartLease, TaskLease
from worker_server.queue.events import EventKind, record_attempt
from worker_server.queue.statements import load

_PREEMPT_PART = load("preempt_part")
_PREEMPT_DOWNLOAD = load("preempt_download")
_PREEMPT_RENDER = load("preempt_render")
_L = TypeVar("_L", TaskLease, PartLease)
_WAITED_S = 5
_PAUSE_S = 30
# Percent; a render beyond this ends soon, so it is not preempted.
_NEARLY_DONE = 60


def preempt_for(task_id: uuid.UUID) -> bool:
    """Preempt one rendering part for the task's first part; return whether that was needed."""
    values = {"task_id": task_id, "nearly_done": _NEARLY_DONE}
    return _preempt(_PREEMPT_PART, values, PartLease) is not None


def preempt_download() -> TaskLease | None:
    """Preempt a download of an owner with over half of them while another owner waits.

    None if there is no such owner.
    """
    values = {"waited_s": _WAITED_S, "pause_s": _PAUSE_S}
    return _preempt(_PREEMPT_DOWNLOAD, values, TaskLease)


def preempt_render() -> PartLease | None:
    """Preempt a part of an owner with over half of the renders while an owner with none waits.

    None if there is no such owner.
    """
    limits = {"nearly_done": _NEARLY_DONE, "max_side": LARGE_SIDE}
    values = {"waited_s": _WAITED_S, **limits}
    return _preempt(_PREEMPT_RENDER, values, PartLease)


def _preempt(
    statement: TextClause, values: Mapping[str, object], lease_type: type[_L]
) -> _L | None:
    with transaction() as session:
        row = session.execute(statement, values).mappings().one_or_none()
        if row is None:
            return None
        lease = lease_type.from_row(row)
        record_attempt(session, lease, EventKind.PREEMPTED)
        totals.add(session, (totals.PREEMPTIONS, (), 1))
        return lease
