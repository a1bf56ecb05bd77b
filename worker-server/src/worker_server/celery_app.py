"""Celery as this system uses it: it carries hints, and nothing depends on a message arriving.

Early acknowledgement and no prefetch: with late ones a worker's main process can end when Redis does, and a prefetched
message can stay stuck for an hour. No result backend: the rows are the result.
"""

import logging
import os
import signal
import threading
from typing import Any

from celery import Celery, Task, signals
from flask import Flask
from imageio_ffmpeg import get_ffmpeg_exe

from worker_server import shutdown
from worker_server.db import db
from worker_server.media import spare
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_TRANSPORT = {
    # A caller of the API waits for at most this long when Redis takes connections but does not answer.
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "visibility_timeout": 3600,
    # One try to send a hint; workers have their own way to wait for the broker.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
}


def init_celery(app: Flask, settings: Settings) -> "Celery[Any]":
    """Return the app's Celery, whose tasks run in the app's context."""

    class ContextTask(Task):  # type: ignore[type-arg] # a parameter that the class does not have at run time
        def __call__(self, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401 # whatever the task takes
            with app.app_context():
                return self.run(*args, **kwargs)

    celery = Celery("worker_server", task_cls=ContextTask, include=["worker_server.tasks"])
    celery.conf.update(
        broker_url=settings.redis_url,
        broker_transport_options=_TRANSPORT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry=False,
        task_default_queue="sweep",
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_max_tasks_per_child=50,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        beat_schedule={
            "sweep": {
                "task": "worker_server.sweep",
                "schedule": settings.sweep_s,
                "options": {"queue": "sweep", "expires": settings.sweep_s},
            }
        },
    )
    celery.set_default()
    app.extensions["celery"] = celery
    return celery


@signals.setup_logging.connect
def _keep_logs(**_: object) -> None:
    """Keep Celery from putting its own handlers in the place of ours, and from saying twice what jobs say."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect
def _find_ffmpeg(**_: object) -> None:
    """Look for ffmpeg once, before the children are forked: it is run to see whether it works."""
    get_ffmpeg_exe()


@signals.worker_process_init.connect
def _after_fork(**_: object) -> None:
    """Forget the parent's database connections: two processes must not speak through one socket."""
    from worker_server.celery import flask_app

    with flask_app.app_context():
        db.engine.dispose(close=False)


@signals.worker_process_shutdown.connect
def _before_the_end(**_: object) -> None:
    """Leave no child behind."""
    spare.dismiss()


@signals.worker_ready.connect
def _end_with_the_clock(sender: Any, **_: object) -> None:  # noqa: ANN401 # Celery's consumer, which has no type
    """Where this worker has an embedded clock: end when that dies, so that both are started again."""
    clock = getattr(sender.controller, "beat", None)
    if clock is not None:
        threading.Thread(target=_wait_for_the_clock, args=(clock,), name="clock", daemon=True).start()


def _wait_for_the_clock(clock: Any) -> None:  # noqa: ANN401 # a billiard process
    clock.join()
    if not shutdown.has_begun():
        _log.critical("the clock has stopped: leaving, to be started again")
        os.kill(os.getpid(), signal.SIGTERM)


@signals.worker_shutting_down.connect
def _hand_back(**_: object) -> None:
    """Make the children give back what they work on, so that a stop takes seconds."""
    shutdown.begin()
