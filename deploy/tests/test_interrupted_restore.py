"""A restore that is interrupted can be repeated, whatever interrupted it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from idrl_testing.waiting import wait_until

if TYPE_CHECKING:
    from conftest import Installation, Saved


# The tests may run with signals ignored, by nohup or as a background job of a shell.
SIGNALS_RESET = ["env", "--default-signal=INT,TERM,HUP"]


@pytest.mark.parametrize(
    ("prefix", "number"),
    [
        (SIGNALS_RESET, signal.SIGINT),
        (SIGNALS_RESET, signal.SIGTERM),
        (SIGNALS_RESET, signal.SIGHUP),
        (["nohup"], signal.SIGTERM),
    ],
)
def test_an_interrupted_restore_leaves_nothing(
    fresh: Installation,
    live: Installation,
    saved: Saved,
    tmp_path: Path,
    prefix: list[str],
    number: signal.Signals,
) -> None:
    """A terminal that is closed sends SIGHUP; a service that is stopped, SIGTERM."""
    live.add_task(parts="done done")
    folder = saved()
    programs = tmp_path / "programs"
    programs.mkdir()
    slow = programs / "pg_restore"
    slow.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    slow.chmod(0o755)
    fresh.changed = {"PATH": f"{programs}:{fresh.environment['PATH']}"}
    with subprocess.Popen(
        [*prefix, *fresh.command("restore", folder)],
        env=fresh.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        assert len(fresh.files()) == 3
        if prefix == ["nohup"]:
            process.send_signal(signal.SIGHUP)
            time.sleep(1)
            assert process.poll() is None
        process.send_signal(number)
        interrupted_at = time.monotonic()
        output = process.communicate(timeout=30)
    assert (process.returncode, *output) == (1, "", f"interrupted: {number.name}\n")
    assert time.monotonic() - interrupted_at < 30
    assert list(fresh.files()) == [".idrl-share"]
    # A signal in the moment of its start leaves pg_restore to end by itself.
    with contextlib.suppress(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    fresh.changed = {}
    done = fresh.run("restore", folder)
    assert done.returncode == 0, done.stderr


def test_rows_that_cannot_be_reset_leave_nothing(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    """The rows are changed after the dump is loaded: both or neither."""
    task = live.add_task("processing", "done rendering", source=True)
    live.database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE 'not this row'; END $$;"
        " CREATE TRIGGER refuse BEFORE UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    folder = saved()
    live.database.execute("DROP FUNCTION refuse CASCADE")
    done = fresh.run("restore", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("database_failed: ")
    assert "not this row" in done.stderr
    assert list(fresh.files()) == [".idrl-share"]
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert fresh.database.execute(tables) == [(0,)]
    assert live.statuses(task) == ("processing", ["done", "rendering"])
