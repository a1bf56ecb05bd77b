"""The entry point of the Celery workers: `celery -A worker_server.worker:app worker -Q fetch`."""

import logging
import os
import signal
import threading
from typing import Any

from celery import Celery, signals
from dotenv import load_dotenv
from imageio_ffmpeg import get_ffmpeg_exe

from idrl_common import logs
from worker_server.app import create_app
from worker_server.db import db
from worker_server.jobs import shutdown
from worker_server.media import warm_prober
from worker_server.settings import Settings

_log = logging.getLogger(__name__)

load_dotenv()
settings = Settings()
logs.configure("worker", settings.log_level)
flask_app = create_app(settings)
app: Celery = flask_app.extensions["celery"]


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
    with flask_app.app_context():
        db.engine.dispose(close=False)


@signals.worker_process_shutdown.connect
def close_warm_prober(**_: object) -> None:
    """Leave no child behind."""
    warm_prober.close()


@signals.worker_ready.connect
def exit_when_beat_dies(sender: Any, **_: object) -> None:  # noqa: ANN401 # Celery's consumer, which has no type
    """Where this worker has an embedded clock: end when that dies, so that both are started again."""
    clock = getattr(sender.controller, "beat", None)
    if clock is not None:
        threading.Thread(target=_wait_for_beat, args=(clock,), name="clock", daemon=True).start()


def _wait_for_beat(clock: Any) -> None:  # noqa: ANN401 # a billiard process
    clock.join()
    if not shutdown.has_begun():
        _log.critical("the clock has stopped: leaving, to be started again")
        os.kill(os.getpid(), signal.SIGTERM)


@signals.worker_shutting_down.connect
def begin_shutdown(**_: object) -> None:
    """Make the children give back what they work on, so that a stop takes seconds."""
    shutdown.begin()
