"""The README's commands work as they are printed, the same ones in both languages."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from idrl_testing.site import Site

ROOT = Path(__file__).parents[1]
IDRL = os.environ.get("IDRL_PROGRAM", str(Path(sys.executable).with_name("idrl")))
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    ((?:git|make) .*)$", re.MULTILINE)
READMES = ["README.md", "README.es.md"]


def commands(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    return INDENTED.findall(text) + BLOCK.findall(text)


def test_both_languages_have_the_same_commands() -> None:
    assert len(commands("README.md")) >= 14
    assert commands("README.md") == commands("README.es.md")


@pytest.mark.parametrize("name", READMES)
def test_clone_and_make_commands(name: str, tmp_path: Path) -> None:
    """The clone is of this checkout; make says what it would do, the demo itself runs elsewhere."""
    clone, *makes = INDENTED.findall((ROOT / name).read_text())
    quiet = clone.replace("clone", "clone -q --depth 1 --no-local")
    here = quiet.replace("https://git.example.com/idrl.git", f"'{ROOT}' idrl")
    assert here != quiet
    dry_runs = [command.replace("make ", "make --dry-run ", 1) for command in makes]
    script = "\n".join([here, *dry_runs])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("idrl_local demo") == 3
    assert '--video "talk.mp4"' in done.stdout
    assert done.stdout.count("idrl_local up") == 2


@pytest.mark.parametrize("name", READMES)
def test_quick_start_commands_work(
    name: str, site: Site, short_video: bytes, tmp_path: Path
) -> None:
    first, *rest = BLOCK.findall((ROOT / name).read_text())
    person = f"ana-{uuid.uuid4().hex[:12]}"
    # The system under test and a video it may fetch, instead of the printed ones; and a new
    # person each time.
    base_url = os.environ.get("BASE_URL", "http://127.0.0.1:5050")
    here = f"export IDRL_URL={base_url} VIDEO_URL={site.add('walk.mp4', short_video)}"
    walk = "\n".join([first, here, *rest]).replace(".venv/bin/idrl", f"'{IDRL}'")
    walk = walk.replace("ana@example.com", f"{person}@example.com").replace('"ana"', f'"{person}"')
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    environment.pop("IDRL_KEY", None)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", walk],
        cwd=tmp_path,
        env=environment,
        input="Fly-high-7\n",  # the answer to the prompt of `idrl login`
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    # Of the task, not of its first part.
    assert json.loads((tmp_path / "task.json").read_text())["status"] == "done"
    assert (tmp_path / "part-0.mp4").read_bytes()[4:8] == b"ftyp"
    assert '"deleted"' in done.stdout
    (clip,) = (tmp_path / "clips").glob("*/part-000.mp4")
    assert clip.read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize("name", READMES)
def test_quick_start_shows_what_went_wrong(name: str, tmp_path: Path) -> None:
    """A wrong password, a private address; and no task is waited for that there is not."""
    blocks = BLOCK.findall((ROOT / name).read_text())
    _, sign_up, log_in, submit, _, wait, *_ = blocks
    person = f"ana-{uuid.uuid4().hex[:12]}"
    base_url = os.environ.get("BASE_URL", "http://127.0.0.1:5050")
    here = f"export IDRL_URL={base_url} VIDEO_URL=http://10.1.2.3/sample.mp4"
    wrong = log_in.replace("Fly-high-7", "Fly-high-8")
    no_task = f"TASK={uuid.uuid4()}"
    walk = "\n".join([here, sign_up, wrong, log_in, submit, no_task, wait])
    walk = walk.replace("ana@example.com", f"{person}@example.com").replace('"ana"', f'"{person}"')
    done = subprocess.run(
        ["bash", "-c", walk], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert "The email or the password is wrong." in done.stderr
    assert "The host is an address that is not public." in done.stderr
    assert "Traceback" not in done.stderr
    assert '"status":404' in done.stdout


@pytest.mark.parametrize("name", READMES)
def test_quick_start_without_a_system_prints_no_traceback(name: str, tmp_path: Path) -> None:
    """A reader whose system is not up yet sees curl's sentence, and no traceback of Python."""
    _, *rest = BLOCK.findall((ROOT / name).read_text())
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # so that no other process gets the port, and not listening
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        here = f"export IDRL_URL={base_url} VIDEO_URL={base_url}/sample.mp4"
        walk = "\n".join([here, *rest]).replace(".venv/bin/idrl", f"'{IDRL}'")
        done = subprocess.run(
            ["bash", "-c", walk],
            cwd=tmp_path,
            env=environment,
            input="Fly-high-7\n",
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert "Traceback" not in done.stderr
    assert "Failed to connect to 127.0.0.1" in done.stderr
    assert "TASK" in done.stderr  # there is none, rather than the list of all tasks


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Give each connection this answer, and yield the port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("name", READMES)
def test_quick_start_reads_answers_of_other_programs(name: str, tmp_path: Path) -> None:
    """Something else listens on the port: what it has answered is shown."""
    blocks = BLOCK.findall((ROOT / name).read_text())
    _, _, log_in, submit, _, wait, *_ = blocks
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<p>hi</p>"
    with answering(answer) as port:
        here = f"export IDRL_URL=http://127.0.0.1:{port} VIDEO_URL=http://127.0.0.1/sample.mp4"
        walk = "\n".join([here, log_in, submit, "TASK=x", wait])
        done = subprocess.run(
            ["bash", "-c", walk], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
    assert "Traceback" not in done.stderr
    assert done.stderr.count("<p>hi</p>") == 2
    assert "<p>hi</p>" in done.stdout  # task.json, after the loop
