"""Batches as callers get them."""

from datetime import UTC, datetime
from typing import Any

from worker_server.api.batch_queries import BatchRow
from worker_server.models.statuses import TaskStatus

_LIVE_PROGRESS = range(3, 100)  # percent; an estimate needs some progress, and some left


def batch_document(batch: BatchRow, task_ids: list[str] | None = None) -> dict[str, Any]:
    """Return the batch as callers see it; `task_ids` are included where they are given."""
    counts: Any = batch
    document = {
        "batch_id": batch["id"],
        "name": batch["name"],
        "callback_url": batch["callback_url"],
        "created_at": batch["created_at"],
        "total": batch["total"],
        "counts": {status: counts[status] for status in TaskStatus},
        "progress": int(batch["progress"]),
        "eta_s": _eta_s(batch),
        "link": f"/batches/{batch['id']}",
    }
    return document if task_ids is None else {**document, "task_ids": task_ids}


def _eta_s(batch: BatchRow) -> float | None:
    """Return the seconds left at the average speed so far; None with too little progress."""
    progress = batch["progress"]
    if int(progress) not in _LIVE_PROGRESS:
        return None
    elapsed_s = (datetime.now(UTC) - datetime.fromisoformat(batch["created_at"])).total_seconds()
    return round(max(0.0, elapsed_s * (100 - progress) / progress), 1)
