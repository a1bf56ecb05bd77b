"""The use cases of the API, called directly on a real database."""

import pytest

from worker_server.queue import claims, submissions
from worker_server.queue.submissions import Submission

pytestmark = pytest.mark.usefixtures("app")


def test_new_task_is_answered_as_queued() -> None:
    """A new task is answered as queued, however soon a worker claims it."""
    task, created, _ = submissions.create_task(Submission(1, "http://example.com/v.mp4"))
    assert created
    task_claim = claims.claim_task("me", 30)
    assert task_claim is not None
    assert task_claim.lease.task_id == task.id
    assert (task.status, task.progress, task.url) == ("queued", 0, "http://example.com/v.mp4")
