"""Restarts web or tasks, unless what would be started cannot start."""

import os
import subprocess

from idrl_local import programs, settings_check, supervision, system
from idrl_local.home import Home, HomeUnusable
from idrl_local.programs import METRICS_FOLDER, PROGRAMS, Installation


def restart(home: Home, name: str) -> None:
    """Stop and start the service.

    Raises HomeUnusable, and leaves it as it is, where its new processes could not start: with a
    wrong key, or with code that cannot be imported.
    """
    environment = settings_check.as_started(home, os.environ)
    ports, secrets = system.running_ports(home), home.secrets()
    _check(Installation(home, ports, secrets, environment), name)
    supervision.restart_program(home, name)


def _check(installation: Installation, name: str) -> None:
    """Have gunicorn import the app as the service would."""
    program = next(program for program in PROGRAMS if program.name == name)
    environment = programs.environment_of(program, installation)
    del environment[METRICS_FOLDER]
    command = [*program.command(installation), "--check-config"]
    done = subprocess.run(
        command,
        env=environment,
        cwd=installation.home.root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise HomeUnusable(f"{name} would not start again, so it is not stopped: {reason}")
