"""Imported by each Celery worker of the installation: tells `up` that the worker takes work."""

import os
from pathlib import Path

from celery import signals

from idrl_local.programs import READY_FILE


@signals.worker_ready.connect
def tell(**_: object) -> None:
    Path(os.environ[READY_FILE]).touch()
