"""Runs a command while a system of its own is up: what the end-to-end tests need."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from idrl_local import privileges, sample, system
from idrl_local.config import RATE_LIMITS_OFF
from idrl_local.home import Home, free_ports

_SETTINGS = {
    "FETCH_ALLOW_HOSTS": "127.0.0.1",
    "WEBHOOK_ALLOW_HOSTS": "127.0.0.1",
    **RATE_LIMITS_OFF,
    # A test's missing source stays missing: do not wait for it as long.
    "SOURCE_RETRY_S": "30",
}


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Return the exit code of the command.

    Its environment has BASE_URL, IDRL_HOME, and VIDEO_URL, a video that the system may fetch.
    """
    folder = Path(tempfile.mkdtemp(prefix="idrl-"))
    if privileges.is_root():
        folder.chmod(0o711)  # the system runs as another user
    try:
        code = _run(Home(folder / "home"), command, environment)
    except system.SystemFailed as error:
        print(error, file=sys.stderr)
        code = 1
    if code:
        print(f"the logs are kept in {folder}/home/logs", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return code


def _run(home: Home, command: Sequence[str], environment: Mapping[str, str]) -> int:
    with system.running(home, free_ports(), {**environment, **_SETTINGS}) as installation:
        video = home.root / "sample.mp4"
        sample.make(video, seconds=3, width=320, height=180)
        with sample.served(video) as video_url:
            child_env = {
                **environment,
                "BASE_URL": installation.url,
                "VIDEO_URL": video_url,
                "IDRL_HOME": str(home.root),
            }
            return subprocess.run(command, env=child_env, check=False).returncode
