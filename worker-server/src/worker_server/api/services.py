"""The use cases of the API: each changes rows, commits, and only then touches Redis or the share."""

import uuid
from datetime import UTC

from worker_server import storage
from worker_server.api import queries
from worker_server.api.queries import PartTotals, TaskFacts, TaskNotFound
from worker_server.models import Task
from worker_server.queue import cancellation, submissions, wakeups
from worker_server.queue.cancellation import Deletion
from worker_server.queue.submissions import Submission
from worker_server.settings import current


def submit_task(submission: Submission) -> tuple[TaskFacts, PartTotals]:
    """Store the task and wake a worker; a repeated request returns the first one's task as it is now.

    Raise IdempotencyKeyReused.
    """
    task, is_new = submissions.create_task(submission)
    if is_new:
        wakeups.send(wakeups.FETCH)
        return facts_of(task), PartTotals()
    try:
        facts, parts = queries.get_task(submission.owner_id, task.id)
    except TaskNotFound:  # deleted since: the answer is what it was a moment ago
        return facts_of(task), PartTotals()
    return facts, PartTotals.of(parts)


def delete_task(owner_id: int, task_id: uuid.UUID) -> Deletion:
    """Abort a live task, or remove a finished one and its files; raise TaskNotFound."""
    deletion = cancellation.delete_task(owner_id, task_id)
    if deletion is None:
        raise TaskNotFound
    if deletion is not Deletion.CANCELING:
        storage.remove_task(current().remote_folder, task_id)
    return deletion


def facts_of(task: Task) -> TaskFacts:
    """Return what the database would return of a task that no worker has claimed."""
    accepted_at = (
        task.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    return TaskFacts(
        id=str(task.id),
        url=task.url,
        status=task.status,
        progress=task.progress,
        attempt=task.attempt,
        error_code=None,
        error_message=None,
        source=None,
        created_at=accepted_at,
        started_at=None,
        finished_at=None,
        updated_at=accepted_at,
    )
