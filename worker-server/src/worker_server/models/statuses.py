"""The statuses of tasks and parts, and who moves each row from one to the next."""

from dataclasses import dataclass
from enum import StrEnum


class TaskStatus(StrEnum):
    """Where a task is; the database holds the value."""

    QUEUED = "queued"
    DOWNLOADING = "downloading"
    PLANNED = "planned"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    CANCELING = "canceling"
    CANCELED = "canceled"


class PartStatus(StrEnum):
    """Where a part is; the database holds the value."""

    WAITING = "waiting"
    RENDERING = "rendering"
    DONE = "done"
    FAILED = "failed"


class DeliveryStatus(StrEnum):
    """Where a webhook's delivery is; the database holds the value."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Transition:
    """One allowed change of status; `source` is None where the row is made."""

    source: TaskStatus | PartStatus | None
    target: TaskStatus | PartStatus
    by: str
    when: str


# Few in the whole system, unlike queued ones: the two have partial indexes of their own.
LIVE_AFTER_QUEUE = (
    TaskStatus.DOWNLOADING,
    TaskStatus.PLANNED,
    TaskStatus.PROCESSING,
    TaskStatus.CANCELING,
)
LIVE_TASKS = (TaskStatus.QUEUED, *LIVE_AFTER_QUEUE)
# While a task is in progress, its workers continue; any other status tells them to stop.
IN_PROGRESS = (TaskStatus.DOWNLOADING, TaskStatus.PROCESSING)
UNFINISHED_PARTS = (PartStatus.WAITING, PartStatus.RENDERING)

_T, _P = TaskStatus, PartStatus
_FETCH, _RENDER, _SWEEPER, _API = "fetch worker", "render worker", "sweeper", "tasks service"
TASK_TRANSITIONS = (
    Transition(None, _T.QUEUED, _API, "`POST /tasks` stores the task"),
    Transition(_T.QUEUED, _T.DOWNLOADING, _FETCH, "claims the task"),
    Transition(_T.DOWNLOADING, _T.PROCESSING, _FETCH, "stores the source's facts and the parts"),
    Transition(_T.DOWNLOADING, _T.PLANNED, _FETCH, "the same of a task that waits for its caller"),
    Transition(_T.PLANNED, _T.PROCESSING, _API, "`POST /tasks/<id>/start`"),
    Transition(_T.PLANNED, _T.QUEUED, _API, "`PATCH` changes the edit: it is planned again"),
    Transition(_T.DOWNLOADING, _T.QUEUED, _FETCH, "is stopped, or another attempt may succeed"),
    Transition(_T.DOWNLOADING, _T.QUEUED, _SWEEPER, "the lease has run out"),
    Transition(_T.DOWNLOADING, _T.QUEUED, _SWEEPER, "its owner has most downloads, another waits"),
    Transition(_T.DOWNLOADING, _T.FAILED, _FETCH, "no other attempt can succeed, or none is left"),
    Transition(_T.DOWNLOADING, _T.FAILED, _SWEEPER, "the last attempt's lease has run out"),
    Transition(_T.PROCESSING, _T.DONE, _RENDER, "finishes the last part"),
    Transition(_T.PROCESSING, _T.FAILED, _RENDER, "the last part has ended, and one has failed"),
    Transition(_T.PROCESSING, _T.FAILED, _SWEEPER, "the same, as the last lease has run out"),
    Transition(_T.PROCESSING, _T.QUEUED, _RENDER, "its source is gone or unreadable: fetched"),
    Transition(_T.DONE, _T.FAILED, _API, "a clip's file is gone, and so is the source"),
    Transition(_T.FAILED, _T.QUEUED, _API, "`POST /tasks/<id>/retry`"),
    Transition(_T.QUEUED, _T.CANCELING, _API, "`DELETE` aborts the task"),
    Transition(_T.DOWNLOADING, _T.CANCELING, _API, "`DELETE` aborts the task"),
    Transition(_T.PLANNED, _T.CANCELING, _API, "`DELETE` aborts the task"),
    Transition(_T.PROCESSING, _T.CANCELING, _API, "`DELETE` aborts the task"),
    Transition(_T.CANCELING, _T.CANCELED, _API, "no worker has ever claimed the task"),
    Transition(_T.CANCELING, _T.CANCELED, _FETCH, "has released the task and removed its files"),
    Transition(
        _T.CANCELING, _T.CANCELED, _RENDER, "has released the last part and removed the files"
    ),
    Transition(_T.CANCELING, _T.CANCELED, _SWEEPER, "no lease is left, and the files are removed"),
)
PART_TRANSITIONS = (
    Transition(None, _P.WAITING, _FETCH, "plans the parts"),
    Transition(_P.WAITING, _P.RENDERING, _RENDER, "claims the part"),
    Transition(_P.RENDERING, _P.DONE, _RENDER, "has published the clip"),
    Transition(_P.RENDERING, _P.WAITING, _RENDER, "is stopped, or another attempt may succeed"),
    Transition(_P.RENDERING, _P.WAITING, _SWEEPER, "the lease has run out"),
    Transition(_P.RENDERING, _P.WAITING, _FETCH, "preempts the part for a new task's first one"),
    Transition(_P.RENDERING, _P.WAITING, _SWEEPER, "its owner has most renders, another has none"),
    Transition(_P.RENDERING, _P.FAILED, _RENDER, "no other attempt can succeed, or none is left"),
    Transition(_P.RENDERING, _P.FAILED, _SWEEPER, "the last attempt's lease has run out"),
    Transition(_P.FAILED, _P.WAITING, _FETCH, "stores the parts again after a retry"),
    Transition(_P.DONE, _P.WAITING, _API, "the clip's file is gone, the source is there"),
    Transition(_P.DONE, _P.FAILED, _API, "the clip's file is gone, and so is the source"),
)
