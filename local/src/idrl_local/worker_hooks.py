"""Imported by each Celery worker of the installation: tells `up` that it takes work."""

import os
from pathlib import Path

from celery import signals

from idrl_local.programs import READY_FILE


@signals.worker_ready.connect
def touch_ready_file(**_: object) -> None:
    """Make the file that `up` waits for."""
    Path(os.environ[READY_FILE]).touch()
