"""What was saved before an upgrade is restored by the release after it, and migrated then."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from idrl_testing.database import Database, create_database
from psg import migrate

if TYPE_CHECKING:
    from conftest import Installation, Saved

# The first one, and those before and after each change of what backups read or reset.
REVISIONS = ["0002", "0015", "0016", "0017", "0018"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_backup_of_an_older_schema_is_restored(
    live: Installation, fresh: Installation, saved: Saved, postgres_port: int, revision: str
) -> None:
    name = f"older_{uuid.uuid4().hex}"
    create_database(postgres_port, name)
    live.database = Database(postgres_port, name=name)
    engine = migrate.engine_for(live.database.settings())
    migrate.upgrade(engine, live.database.settings(), revision)
    done = live.add_task("done", "done")
    halfway = live.add_task("processing", "done rendering", source=True)
    fetching = live.add_task("downloading", "")
    restored = fresh.run("restore", saved())
    assert restored.returncode == 0, restored.stdout + restored.stderr
    migrate.upgrade(migrate.engine_for(fresh.database.settings()), fresh.database.settings())
    assert fresh.statuses(done) == ("done", ["done"])
    assert fresh.statuses(halfway) == ("processing", ["done", "waiting"])
    assert fresh.statuses(fetching) == ("queued", [])
