"""Runs the sweeper of the installation, and tells `up` that it runs."""

import os
from pathlib import Path

from idrl_local.programs import READY_FILE
from worker_server import sweeper

if __name__ == "__main__":
    Path(os.environ[READY_FILE]).touch()
    sweeper.main()
