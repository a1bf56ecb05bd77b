import io
import json
from pathlib import Path

import pytest

from idrl_local.home import Home, HomeUnusable
from idrl_local.logs import Entry, Filter, _Follower, show

TASK = "0b8f2f0e-6c1d-4c0a-9f57-3d1c5f6a7b88"
LINES = [
    {"time": "2026-11-27T04:05:06Z", "level": "INFO", "logger": "a", "message": "began"},
    {
        "time": "2026-11-27T04:05:07Z",
        "level": "ERROR",
        "message": "encoder ended",
        "task_id": TASK,
        "exc_info": "Traceback …",
    },
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    (home.logs / "render.log").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    (home.logs / "redis.log").write_text("1:M Ready to accept connections\n")
    return home


def shown(home: Home, chosen: Filter, *, as_json: bool = False) -> list[str]:
    out = io.StringIO()
    show(home, chosen, as_json=as_json, follow=False, out=out)
    return out.getvalue().splitlines()


def test_json_and_plain_lines_are_shown_for_people(home: Home) -> None:
    lines = shown(home, Filter())
    assert "         redis            1:M Ready to accept connections" in lines
    assert "04:05:06 render   INFO    began" in lines
    assert f"04:05:07 render   ERROR   encoder ended task_id={TASK}" in lines
    assert "Traceback …" in lines


def test_callers_neither_forge_lines_nor_control_the_terminal(home: Home) -> None:
    """A path needs no account, and is logged decoded."""
    path = "/x\n04:05:09 web      ERROR   disk failed\x1b[31m\u202e\x9b2J\u2028é"
    fields = {"message": f"Exception on {path}", "exc_info": f"Traceback\n  {path[-20:]}"}
    lines = [json.dumps({**LINES[0], "path": path}), json.dumps({**LINES[0], **fields})]
    (home.logs / "web.log").write_text("\n".join([*lines, "plain \x1b]0;title\x07 é", ""]))
    out = io.StringIO()
    show(home, Filter("web"), as_json=False, follow=False, out=out)
    seen = r"/x\n04:05:09 web      ERROR   disk failed\x1b[31m\u202e\x9b2J\u2028é"
    assert out.getvalue().split("\n") == [
        f"04:05:06 web      INFO    began path={seen}",
        f"04:05:06 web      INFO    Exception on {seen}",
        "Traceback",
        r"  sk failed\x1b[31m\u202e\x9b2J\u2028é",
        r"         web              plain \x1b]0;title\x07 é",
        "",
    ]


@pytest.mark.parametrize(
    "chosen", [Filter(level="ERROR"), Filter(task_id=TASK), Filter("render", TASK, "WARNING")]
)
def test_filters_leave_the_one_line(home: Home, chosen: Filter) -> None:
    (line,) = shown(home, chosen, as_json=True)
    assert json.loads(line) == LINES[1]


def test_unknown_service_is_answered_with_those_there_are(home: Home) -> None:
    with pytest.raises(HomeUnusable, match="SERVICE=rendr is none of redis, render"):
        shown(home, Filter("rendr"))


def test_severity_of_postgresql_is_a_level() -> None:
    assert Entry.parse("postgres", '{"error_severity": "FATAL"}').level == "ERROR"
    assert Entry.parse("postgres", '{"error_severity": "LOG"}').level == "INFO"


def test_follower_reads_each_line_once_and_survives_rotation(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("one\ntw")
    follower = _Follower("web", path)
    assert [entry.raw for entry in follower.read()] == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    assert [entry.raw for entry in follower.read()] == ["two"]
    path.rename(tmp_path / "web.log.1")
    assert list(follower.read()) == []
    path.write_text("three\n")
    assert [entry.raw for entry in follower.read()] == ["three"]
