"""What the command prints of large accounts, and on narrow terminals."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from idrl_client import clipping, output
from idrl_client.errors import LocalFault
from idrl_client.models import Task, Usage

USAGE = {
    "live_tasks": 1,
    "live_tasks_limit": 100,
    "clips_bytes": 23_456_789_012,
    "uploads_bytes": 0,
    "clips_bytes_limit": 107_374_182_400,
    "source_s_today": 123_456.25,
    "source_s_today_limit": None,
    "rendered_s_this_month": 2,
}


def test_usage_has_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    output.usage(cast("Usage", USAGE))
    printed = dict(line.rsplit("  ", 1) for line in capsys.readouterr().out.splitlines())
    values = {name.strip(): value.strip() for name, value in printed.items()}
    assert values["bytes of clips"] == "23,456,789,012"
    assert values["bytes in all"] == "23,456,789,012 of 107,374,182,400"
    assert values["seconds of video today"] == "123,456.25"
    assert values["seconds rendered this month"] == "2"


def test_line_of_progress_is_not_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one would replace only the last row of it."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    output.Progress()("uploading a long name")
    assert capsys.readouterr().err == "\r\033[K\033[?7luploading a long name\033[?7h"


def test_dumb_terminal_gets_no_escape_sequences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of Emacs, and of some continuous integrations, shows them as they are."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with output.Progress() as progress:
        progress("1 of 2 videos")
    assert capsys.readouterr().err == "1 of 2 videos\n"


def test_message_has_a_line_of_its_own_after_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that of an interrupt."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with suppress(KeyboardInterrupt), output.Progress() as progress:
        progress("1 of 2 videos")
        raise KeyboardInterrupt
    output.write_line("idrl: interrupted")
    assert capsys.readouterr().err.endswith("\033[?7h\nidrl: interrupted\n")


NAME = "a\x1b]0;owned\x07\nb\u2028\x9b31m.mp4"
SHOWN = r"a\x1b]0;owned\x07\nb\u2028\x9b31m.mp4"


def test_control_characters_of_a_name_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.Progress()(f"uploading 7 % of {NAME}")
    output.error(LocalFault(f"{NAME} is empty"), is_json=False)
    assert capsys.readouterr().err == f"uploading 7 % of {SHOWN}\nidrl: {SHOWN} is empty\n"
    output.jobs([clipping.Job(NAME, error=LocalFault(f"{NAME}: gone"))])
    assert capsys.readouterr().err == f"idrl: {SHOWN}: gone\n"
    row = {"task_id": "t", "status": "done", "progress": 100, "parts_done": 1, "parts_total": 1}
    output.tasks([cast("Task", {**row, "name": NAME})])
    assert capsys.readouterr().out == f"t  done        100 %  1/1  {SHOWN}\n"


def test_names_of_all_languages_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A screen recording of macOS has a narrow space before PM."""
    name = "Grabación 1.02\u202fPM שלום 👩\u200d🚀.mp4"
    output.Progress()(name)
    assert capsys.readouterr().err == f"{name}\n"


@pytest.mark.parametrize("name", ["a" * 200, "講演" * 20])
def test_percentage_is_seen_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    clipping._upload_progress(Path(f"{name}.mp4"), output.Progress())(42)
    shown = capsys.readouterr().err.removeprefix("\r\033[K\033[?7l").removesuffix("\033[?7h")
    assert shown.startswith(f"uploading {name[:5]}")
    assert shown.endswith("….mp4: 42 %")
    assert 35 <= len(shown) + sum(letter in "講演" for letter in shown) < 40
