"""The entry point of the Celery workers: `celery -A worker_server.worker:app worker -Q fetch`."""

import gc
import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

import celery.apps.worker
from celery import Celery, signals
from dotenv import load_dotenv
from imageio_ffmpeg import get_ffmpeg_exe

from idrl_common import logs
from worker_server.app import create_app
from worker_server.db import db
from worker_server.jobs import runtime
from worker_server.jobs.selftest import run_selftest
from worker_server.jobs.webhook_senders import WebhookSenders
from worker_server.jobs.worker_heartbeat import WorkerHeartbeat
from worker_server.media.selftest import SelfTestFailed
from worker_server.queue.claims import Kind
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor

_log = logging.getLogger(__name__)

load_dotenv()
settings = Settings()
logs.configure("worker", settings.log_level)
flask_app = create_app(settings)
state = runtime.attach(flask_app)
app: Celery = flask_app.extensions["celery"]


@signals.setup_logging.connect
def _keep_logs(**_: object) -> None:
    """Keep our log handlers, which Celery would replace; drop its own INFO lines on each task."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _log_celery(message: str, *_: object, **__: object) -> None:
    """Write what Celery says in OS signal handlers: there, the locks of logging could deadlock."""
    line = {"level": "INFO", "logger": "celery", "service": "worker", "message": message.strip()}
    line["time"] = datetime.now(UTC).isoformat()
    os.write(sys.stderr.fileno(), json.dumps(line).encode() + b"\n")


celery.apps.worker.safe_say = _log_celery  # type: ignore[attr-defined] # the stubs leave it out


@signals.celeryd_init.connect
def _run_selftest(options: dict[str, Any], **_: object) -> None:
    """Refuse to start where this machine cannot do the work of the worker's queues."""
    queues = options.get("queues") or ()
    try:
        run_selftest(settings, set(queues.split(",") if isinstance(queues, str) else queues))
    except SelfTestFailed as error:
        _log.critical("the worker does not start", extra={"detail": str(error)})
        raise SystemExit(str(error)) from error


@signals.worker_init.connect
def _find_ffmpeg(**_: object) -> None:
    """Find ffmpeg once, before the children are forked: finding it runs it."""
    get_ffmpeg_exe()


@signals.worker_init.connect
def _freeze_modules(**_: object) -> None:
    """Freeze the modules' objects: garbage collection writes to them, which copies their pages.

    Pages that no child writes to stay shared with the parent (https://docs.python.org/3/library/
    gc.html#gc.freeze): 20 to 30 MiB less for each child.
    """
    gc.collect()
    gc.freeze()


@signals.worker_process_init.connect
def _after_fork(**_: object) -> None:
    """Drop the parent's database connections: two processes must not share a socket."""
    with flask_app.app_context():
        db.engine.dispose(close=False)


@signals.worker_process_shutdown.connect
def close_warm_prober(**_: object) -> None:
    """End the prober that waits for the next source."""
    state.warm_prober.close()


@signals.worker_ready.connect
def start_worker_heartbeat(sender: Any, **_: object) -> None:  # noqa: ANN401 # Celery's consumer, which has no type
    """Tell the database that this worker is alive, and which kinds of work it takes."""
    kinds = sorted(sender.app.amqp.queues.consume_from)
    scratch = settings.scratch_folder if Kind.RENDER in kinds else None
    share = ShareMonitor(settings.remote_folder, settings.storage_reserve_bytes)
    heartbeat = WorkerHeartbeat(flask_app, state.worker_name, kinds, scratch, share)
    heartbeat.start()
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)
    if Kind.FETCH in kinds:  # only fetch workers connect to other hosts
        senders = WebhookSenders(flask_app, settings)
        senders.start()
        signals.worker_shutdown.connect(lambda **_: senders.stop(), weak=False)


@signals.worker_shutting_down.connect
def begin_shutdown(**_: object) -> None:
    """Make the children release their leases, so that a stop takes seconds."""
    state.shutdown.set()
