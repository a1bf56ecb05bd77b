"""A worker starts only where it can do its work; it says why not before it connects to anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker_server.jobs.selftest import run_selftest
from worker_server.media.selftest import SelfTestFailed
from worker_server.settings import Settings


def start(queue: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Start a worker with no database and no Redis in reach."""
    celery = ["-m", "celery", "--quiet", "-A", "worker_server.worker:app"]
    return run_python(*celery, "worker", "-Q", queue, "-c", "1", "-n", "test@%h", **environment)


def run_python(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with a worker's environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    needed = {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": "1",
        "POSTGRES_USER": "worker",
        "POSTGRES_DB": "idrl",
        "POSTGRES_PASSWORD": "none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "JWT_PUBLIC_KEY": PUBLIC_KEY,
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=kept | needed | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----"""


def test_a_logo_path_that_names_no_file_stops_the_start(tmp_path: Path) -> None:
    done = start("render", LOGO_PATH=str(tmp_path / "absent.png"))
    assert done.returncode not in (0, None)
    assert f"LOGO_PATH names no file: {tmp_path / 'absent.png'}." in done.stderr
    assert "Traceback" not in done.stderr


def test_only_render_workers_need_the_logo(settings: Settings, tmp_path: Path) -> None:
    broken = settings.model_copy(update={"logo_path": tmp_path / "absent.png"})
    run_selftest(broken, {"fetch"})
    run_selftest(broken, {"sweep"})
    with pytest.raises(SelfTestFailed, match="LOGO_PATH"):
        run_selftest(broken, {"render"})


def test_a_child_shares_the_memory_of_the_modules() -> None:
    done = run_python(
        "-c",
        "import gc; from celery import signals; from worker_server import worker;"
        "signals.worker_init.send(None); print(gc.get_freeze_count() > 50_000)",
    )
    assert done.stdout == "True\n", done.stderr
