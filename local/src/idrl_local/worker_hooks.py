"""Imported by each Celery worker of the installation: tells `up` that it takes work, and leaves no clock behind."""

import os
from pathlib import Path

from celery import platforms, signals

from idrl_local.programs import READY_FILE


@signals.worker_ready.connect
def tell(**_: object) -> None:
    """Leave the sign that `up` waits for."""
    Path(os.environ[READY_FILE]).touch()


@signals.beat_embedded_init.connect
def end_with_the_worker(**_: object) -> None:
    """Have the kernel end the clock with its worker: it closes every file, our mark too, so nobody could find it."""
    platforms.set_pdeathsig("SIGKILL")  # type: ignore[attr-defined] # its types do not know it
