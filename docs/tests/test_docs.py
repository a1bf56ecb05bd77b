"""The documents hold together: links work, decisions are numbered, listed and complete."""

import re
import subprocess
from pathlib import Path

import pytest

from web_server.models import Base as WebBase
from worker_server.models import Base as WorkerBase

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
SECTIONS = ("- Date: 20", "- Status: ", "## Context", "## Decision", "## Consequences")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def _pages() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [page for name in names.splitlines() if (page := ROOT / name).exists()]


def _decisions() -> list[Path]:
    return sorted(DECISIONS.glob("[0-9]*.md"))


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line) for line in HEADING.findall(text))
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings}


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_there(page: Path) -> None:
    links = [link for link in ANCHOR.findall(page.read_text()) if "://" not in link[0]]
    targets = [((page.parent / name if name else page), anchor) for name, anchor in links]
    of_pages = [(target, anchor) for target, anchor in targets if target.suffix == ".md"]
    assert [each for each in of_pages if each[1] not in _anchors(each[0])] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in _decisions()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", _decisions(), ids=lambda page: page.name[:4])
def test_decision_has_all_sections_and_a_line_in_the_index(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]}. ")
    assert [section for section in SECTIONS if section not in text] == []
    assert f"({page.name})" in (DECISIONS / "README.md").read_text()


@pytest.mark.parametrize("table", [*WebBase.metadata.tables, *WorkerBase.metadata.tables])
def test_architecture_describes_every_table(table: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert re.search(rf"`{table}`|^  {table} {{$", page, re.MULTILINE)


def test_paths_in_the_table_of_packages_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Where the code is")[2]
    missing = []
    for table in page.split("| in `")[1:]:
        package, _, rows = table.partition("`")
        cells = [row.split("|")[1] for row in rows.splitlines() if row.startswith("| `")]
        paths = [path for cell in cells for path in re.findall(r"`([^`]+)`", cell)]
        missing += [path for path in paths if not (ROOT / package / path).exists()]
    assert missing == []
