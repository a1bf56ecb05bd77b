"""The API's benchmark says what it lacks."""

from pathlib import Path

import pytest

from bench import wrk


def test_missing_wrk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        wrk.load(1, wrk.Call(["/health"]), "", seconds=1, connections=1)
