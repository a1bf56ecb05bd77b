"""What the command prints of large accounts, and on narrow terminals."""

import sys
from typing import cast

import pytest

from idrl_client import output
from idrl_client.models import Usage

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
