"""A system with work half done is saved, destroyed, restored, re-keyed, and goes on."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from idrl_client import Client
from idrl_client.downloads import fetch_part
from idrl_local import sample, servers
from idrl_local.home import Home, free_ports
from idrl_local.programs import DATABASE, SUPERUSER
from idrl_testing.database import Database
from idrl_testing.processes import running
from idrl_testing.waiting import wait_until

if TYPE_CHECKING:
    from conftest import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
# One part at a time and slowly, so that there is a half of the work to be found.
SETTINGS = {
    "FETCH_ALLOW_HOSTS": "127.0.0.1",
    "RENDER_CONCURRENCY": "1",
    "PART_SECONDS": "2",
    "RENDER_PRESET": "slow",
}


@contextmanager
def up(caller: dict[str, str]) -> Iterator[None]:
    """Have the system up for as long as the block lasts."""
    command = [sys.executable, "-m", "idrl_local"]
    try:
        subprocess.run([*command, "up"], env=caller, check=True, start_new_session=True)
        yield
    finally:
        subprocess.run([*command, "down"], env=caller, check=True)


def installation_of(
    installation: type[Installation], home: Home, port: int, environment: dict[str, str]
) -> Installation:
    known = home.secrets()
    database = Database(port, name=DATABASE, superuser=SUPERUSER, password=known.postgres_password)
    passwords = {
        "WEB_DB_PASSWORD": known.web_db_password,
        "WORKER_DB_PASSWORD": known.worker_db_password,
    }
    return installation(database, home.share, environment, passwords)


def change_passwords(home: Home) -> None:
    """Give the two roles and Redis new passwords: the next start applies them."""
    text, known = home.secrets_file.read_text(), home.secrets()
    for password in (known.web_db_password, known.worker_db_password, known.redis_password):
        text = text.replace(password, secrets.token_hex(24))
    home.secrets_file.write_text(text)


def clips_of(client: Client, tasks: list[str], folder: Path) -> dict[str, list[str]]:
    """Download every clip that is done, checked against the API's sums; return these sums."""
    folder.mkdir()
    hashes: dict[str, list[str]] = {}
    for task in tasks:
        parts = [part for part in client.task(task)["parts"] if part["status"] == "done"]
        for part in parts:
            fetch_part(client.connection, part, folder / "clip")
        hashes[task] = [str(part["sha256"]) for part in parts]
    return hashes


def test_a_destroyed_system_comes_back(
    binaries: servers.Binaries,
    environment: dict[str, str],
    backups: Path,
    installation: type[Installation],
    tmp_path: Path,
) -> None:
    home, ports = Home(tmp_path / "home"), free_ports()
    video = tmp_path / "video.mp4"
    sample.make(video, seconds=12, width=640, height=480)
    caller = {**environment, **SETTINGS, "IDRL_HOME": str(home.root), "PORT": str(ports.nginx)}
    with ExitStack() as stack:
        url = stack.enter_context(sample.served(video))
        with up(caller):
            client = Client.signed_up(
                f"http://127.0.0.1:{ports.nginx}", "ada", "ada@example.com", "Passw0rd-of-a-test"
            )
            tasks = [client.create_task({"url": url})["task_id"]]
            wait_until(lambda: client.task(tasks[0])["status"] == "done")
            tasks.append(client.create_task({"url": url})["task_id"])
            wait_until(lambda: client.task(tasks[1])["parts_done"] >= 1)
            done = installation_of(installation, home, ports.postgres, caller).run("backup")
            assert done.returncode == 0, done.stderr
        [folder] = [path for path in backups.iterdir() if path.is_dir()]
        saved = {task: len(list((folder / "share" / task).glob("*.mp4"))) for task in tasks}
        assert saved[tasks[0]] == 6
        assert 1 <= saved[tasks[1]] < 6
        before = {path.name for path in (folder / "share" / tasks[1]).glob("*.mp4")}

        for lost in (home.data, home.share):
            shutil.rmtree(lost)
        home.create()
        (home.share / ".idrl-share").touch()
        data = home.data / "postgres"
        servers.init_postgres(binaries, data, SUPERUSER, home.secrets().postgres_password)
        with running(
            servers.postgres_command(binaries, data, ports.postgres), tmp_path / "log"
        ) as process:
            servers.wait_for_postgres(
                ports.postgres, SUPERUSER, home.secrets().postgres_password, process
            )
            servers.ensure_database(
                ports.postgres, SUPERUSER, home.secrets().postgres_password, DATABASE
            )
            restored = installation_of(installation, home, ports.postgres, caller).run(
                "restore", folder
            )
            assert restored.returncode == 0, restored.stdout + restored.stderr

        change_passwords(home)
        with up(caller):
            Client.logged_in(
                f"http://127.0.0.1:{ports.nginx}", "ada@example.com", "Passw0rd-of-a-test"
            )
            first = clips_of(client, tasks, tmp_path / "first")
            assert len(first[tasks[0]]) == 6
            wait_until(lambda: client.task(tasks[1])["status"] == "done")
            last = clips_of(client, tasks, tmp_path / "last")
            assert {task: len(sums) for task, sums in last.items()} == dict.fromkeys(tasks, 6)
            assert last[tasks[0]] == first[tasks[0]]
            # Clips that were done before were not rendered again.
            assert before <= {path.name for path in (home.share / tasks[1]).glob("*.mp4")}
