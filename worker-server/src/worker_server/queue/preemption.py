"""Preempts a long task's part for a new task's first part, where every render slot is busy.

First parts are next in line already, but a render that has just begun keeps its slot for a whole part's time. The
preempted part waits again; its worker learns of it by the next heartbeat. docs/decisions has what little is lost.
"""

import uuid

from worker_server.db import transaction
from worker_server.queue.claims import PartLease
from worker_server.queue.events import EventKind, record_attempt
from worker_server.queue.statements import load

_PREEMPT_PART = load("preempt_part")
# A render this far (percent) frees its slot soon enough without preemption.
_SOON_DONE = 60


def preempt_for(task_id: uuid.UUID) -> bool:
    """Preempt one rendering part for the task's first part; return whether that was needed."""
    with transaction() as session:
        values = {"task_id": task_id, "soon_done": _SOON_DONE}
        row = session.execute(_PREEMPT_PART, values).mappings().one_or_none()
        if row is not None:
            record_attempt(session, PartLease.from_row(row), EventKind.PREEMPTED)
        return row is not None
