"""Imported by each Celery worker of the installation: tells `up` that it takes work."""

import os
from pathlib import Path

from celery import signals

from idrl_local.programs import READY_FILE


@signals.worker_ready.connect
def tell(**_: object) -> None:
    """Leave the sign that `up` waits for."""
    Path(os.environ[READY_FILE]).touch()
