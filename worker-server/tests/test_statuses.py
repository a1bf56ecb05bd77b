"""Statuses have one place: the enums, the page generated from them, and no others in SQL."""

import re
from pathlib import Path

import pytest
import state_machine

from worker_server.models.statuses import (
    PART_TRANSITIONS,
    TASK_TRANSITIONS,
    PartStatus,
    TaskStatus,
    Transition,
)

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "worker-server" / "src" / "worker_server"
WORDS = {*TaskStatus, *PartStatus}
# Words of the API and of the rows that happen to be a status as well.
ELSEWHERE = {"statuses.py", "cancellation.py", "events.py", "system_status.py"}


def test_state_machine_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "state-machine.md").read_text() == state_machine.document()


@pytest.mark.parametrize(
    ("enum", "transitions"), [(TaskStatus, TASK_TRANSITIONS), (PartStatus, PART_TRANSITIONS)]
)
def test_every_status_can_be_reached(
    enum: type[TaskStatus] | type[PartStatus], transitions: tuple[Transition, ...]
) -> None:
    assert {each.target for each in transitions} == set(enum)


def _modules() -> list[Path]:
    """Return the modules that may know statuses: media and fetching may not use the queue."""
    kept_away = (PACKAGE / "media", PACKAGE / "fetching")
    modules = (path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in ELSEWHERE)
    return [path for path in modules if not any(map(path.is_relative_to, kept_away))]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_status_is_a_bare_string(path: Path) -> None:
    literals = re.findall(r"""["'](\w+)["']""", path.read_text())
    assert WORDS.isdisjoint(literals)


SQL = sorted((PACKAGE / "queue" / "sql").iterdir())
BACKUPS = sorted((ROOT / "deploy" / "backups").glob("*.py"))


@pytest.mark.parametrize("path", [*SQL, *BACKUPS], ids=lambda path: path.name)
def test_sql_uses_known_statuses(path: Path) -> None:
    compared = re.findall(r"\bstatus (?:=|<>|(?:NOT )?IN) (\([^)]*\)|'[^']*')", path.read_text())
    words = {word for literal in compared for word in re.findall(r"'(\w+)'", literal)}
    assert words <= WORDS


@pytest.mark.parametrize("path", SQL, ids=lambda path: path.name)
def test_sql_file_begins_with_what_it_does(path: Path) -> None:
    assert path.read_text().startswith("-- ")
