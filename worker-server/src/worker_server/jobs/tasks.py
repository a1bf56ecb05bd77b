"""The Celery tasks, each one line over a plain function.

A message carries nothing: the rows say what to do.
"""

from celery import shared_task

from worker_server.jobs import runtime
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.settings import current


@shared_task(name="worker_server.fetch")
def fetch() -> None:
    """Download and plan the next task in fair order."""
    fetch_next(current(), runtime.current())


@shared_task(name="worker_server.render")
def render() -> None:
    """Render the next part in fair order."""
    render_next(current(), runtime.current())
