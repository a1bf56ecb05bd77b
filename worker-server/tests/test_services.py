"""What the API asks of the database."""

import pytest

from worker_server.api import services
from worker_server.api.services import Submission
from worker_server.queue import leases

pytestmark = pytest.mark.usefixtures("app")


def test_a_task_is_answered_as_it_was_accepted() -> None:
    """However soon a worker takes it: callers are told that it is queued, and from then on they ask."""
    task, created = services.create_task(Submission(1, "http://example.com/v.mp4"))
    assert created
    taken = leases.claim_task("me", 30)
    assert taken is not None
    assert taken.id == task.id
    assert (task.status, task.progress, task.url) == ("queued", 0, "http://example.com/v.mp4")
