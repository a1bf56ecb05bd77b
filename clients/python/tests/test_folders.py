"""The folders that the command works in: of clips, and of the log-in."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from idrl_client import Client, LocalFault, clipping
from idrl_client.clipping import Job
from idrl_client.journal import Journal
from idrl_client.login import load
from idrl_testing import site as web_site
from idrl_testing.site import Site

CLIP = b"clip"
TASK_ID = "12345678-9abc"


@pytest.fixture
def system() -> Iterator[Site]:
    with web_site.serve() as site:
        site.add("clip", CLIP)
        yield site


def add_task(system: Site, name: str) -> None:
    sha256 = hashlib.sha256(CLIP).hexdigest()
    part = {"number": 0, "status": "done", "start_s": 0, "end_s": 20, "sha256": sha256}
    parts = [{**part, "size_bytes": len(CLIP), "link": "/clip"}]
    task = {"task_id": TASK_ID, "status": "done", "name": name, "error": None, "parts": parts}
    system.add(f"tasks/{TASK_ID}", json.dumps(task).encode())


def test_clips_of_a_renamed_task_stay_in_their_folder(system: Site, tmp_path: Path) -> None:
    for name in ("talk.mp4", "Opening talk"):
        add_task(system, name)
        job = Job("https://a.example/talk.mp4", task_id=TASK_ID)
        clipping.follow(Client(system.url, "k"), [job], tmp_path, print)
    assert system.hits["/clip"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["talk-12345678"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_folder_on_a_share_without_locks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing_with(code))
    with Journal.of(tmp_path) as journal:
        assert journal.entry("a") is None


def test_folder_whose_lock_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fcntl, "flock", failing_with(errno.EIO))
    with pytest.raises(LocalFault, match=f"{tmp_path} cannot be locked"), Journal.of(tmp_path):
        pass


def test_folder_on_a_system_without_flock(tmp_path: Path) -> None:
    """On Windows even `idrl login` ended in a traceback: there is no module fcntl."""
    script = (
        "import pathlib, sys, uuid; sys.platform = 'win32'; sys.modules['fcntl'] = None\n"
        "from idrl_client.journal import Entry, Journal\n"
        "with Journal.of(pathlib.Path(sys.argv[1])) as journal: journal.put('a', Entry.new('b'))"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True, timeout=60)
    with Journal.of(tmp_path) as journal:
        assert journal.entry("a")


def failing_with(code: int) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return fail


def test_user_without_a_home_needs_both_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `docker run -u 12345`, where the user has no name."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(LocalFault, match="set HOME, or IDRL_URL and IDRL_KEY"):
        load({"IDRL_URL": "http://127.0.0.1:1"})
    assert load({"IDRL_URL": "http://127.0.0.1:1", "IDRL_KEY": "k"}).key == "k"
