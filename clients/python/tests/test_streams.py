"""Standard output and error that are closed or full, and standard input that is closed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from idrl_testing import site as web_site
from idrl_testing.site import Request, Site

ROW = {"task_id": "a", "status": "done", "progress": 100, "parts_done": 1, "parts_total": 1}


@pytest.fixture
def system() -> Iterator[Site]:
    """A fake system that has one task, or many."""
    with web_site.serve() as site:
        for query, count in (("max=1", 1), ("max=100", 100)):
            body = json.dumps([{**ROW, "name": "n" * 900}] * count).encode()
            site.add(f"tasks?{query}", body)
        yield site


def run(system: Site, home: Path, command: str, stdout: IO[bytes] | int) -> tuple[int, str]:
    """Run the command, its output buffered as usual; return exit code and standard error."""
    variables = {"IDRL_URL": system.url, "IDRL_KEY": "k", "XDG_CONFIG_HOME": str(home)}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", "idrl_client", *command.split()],
        env={**environment, **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["ls -n 1", "ls -n 100", "ls -n 1 --json", "ls --help"])
def test_reader_that_has_gone_is_no_error(system: Site, tmp_path: Path, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        assert run(system, tmp_path, command, stdout) == (0, "")


@pytest.mark.parametrize("command", ["ls -n 1", "ls -n 100", "ls -n 1 --json", "ls --help"])
def test_standard_output_to_a_full_disk(system: Site, tmp_path: Path, command: str) -> None:
    with Path("/dev/full").open("wb") as stdout:
        code, errors = run(system, tmp_path, command, stdout)
    (line,) = errors.splitlines()
    assert (code, "the output cannot be written: No space left on device" in line) == (7, True)


def test_closed_standard_input_has_no_key(tmp_path: Path) -> None:
    command = f"{sys.executable} -m idrl_client login http://127.0.0.1:1 <&-"
    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "no key was given" in done.stderr) == (3, True)


PROGRESS = (
    "-c 'from idrl_client import output; output.open_closed_streams(); output.Progress()(\"a\")'"
)


@pytest.mark.parametrize(("options", "code"), [("-m idrl_client show b", 4), (PROGRESS, 0)])
def test_closed_standard_error_writes_nothing_into_the_output(
    system: Site, tmp_path: Path, options: str, code: int
) -> None:
    missing = {"status": 404, "code": "task_not_found", "detail": "There is no such task."}
    system.add("tasks/b", answer=lambda request: request.send(404, json.dumps(missing).encode()))
    variables = {"IDRL_URL": system.url, "IDRL_KEY": "k", "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} {options} 2>&-"],
        env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "")


@contextmanager
def unwritable(kind: str) -> Iterator[IO[bytes]]:
    """Open a pipe whose reader has gone, as of `2>&1 | head -1`, or a full disk."""
    if kind == "full":
        with Path("/dev/full").open("wb") as stream:
            yield stream
        return
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        yield stream


@pytest.mark.parametrize("kind", ["gone", "full"])
@pytest.mark.parametrize(
    ("command", "code", "printed"),
    [("clip https://a.example/v.mp4 --wait", 0, "a\n"), ("show b", 4, ""), ("lst", 2, "")],
)
def test_standard_error_that_nobody_reads_ends_no_work(
    system: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *,
    kind: str, command: str, code: int, printed: str,
) -> None:  # fmt: skip
    def create(request: Request) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        request.send(202, json.dumps({**ROW, "status": "queued"}).encode())

    def show(request: Request) -> None:
        status = "queued" if request.count < 2 else "done"
        request.send(200, json.dumps({**ROW, "status": status, "parts": []}).encode())

    missing = {"status": 404, "code": "task_not_found", "detail": "There is no such task."}
    system.add("tasks/b", answer=lambda request: request.send(404, json.dumps(missing).encode()))
    system.add("tasks/a", answer=show)
    monkeypatch.setattr(Request, "do_POST", create, raising=False)
    with unwritable(kind) as stderr:
        variables = {"IDRL_URL": system.url, "IDRL_KEY": "k", "XDG_CONFIG_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "idrl_client", *command.split()],
            env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=stderr,
            text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, printed)
