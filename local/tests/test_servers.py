import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
import redis

from idrl_local import servers
from idrl_local.home import Home, Ports
from idrl_local.programs import Installation
from idrl_testing.processes import running
from idrl_testing.waiting import wait_until

PASSWORD = "open-sesame"


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """A folder that only its owner may enter, as root's and many homes are."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


def test_every_binary_runs(binaries: servers.Binaries) -> None:
    for program in (binaries.initdb, binaries.postgres, binaries.redis):
        assert subprocess.run([program, "--version"], capture_output=True, check=True).stdout
    assert (
        b"nginx" in subprocess.run([binaries.nginx, "-v"], capture_output=True, check=True).stderr
    )


@pytest.mark.parametrize(
    ("script", "is_used"),
    [
        ("#!/bin/sh\necho 'postgres (PostgreSQL) 99.1 (Debian 99.1-1)'\n", True),
        ("#!/bin/sh\necho 'postgres (PostgreSQL) 99beta1'\n", True),
        ("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n", False),
        ("#!/bin/sh\necho 'error while loading shared libraries' >&2\nexit 127\n", False),
        ("#!/bin/sh\nexit 0\n", False),
        ("#!/no/such/interpreter\n", False),
    ],
)
def test_server_of_the_machine_that_cannot_be_used_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, is_used: bool
) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(servers, "_MACHINE_FOLDERS", tmp_path / "none")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (servers.find_binaries().postgres == tmp_path / "postgres") is is_used


@pytest.mark.parametrize(
    ("name", "printed", "is_used"),
    [
        ("nginx", "nginx version: nginx/1.22.1", True),
        ("nginx", "nginx version: nginx/1.31.3 (Ubuntu)", True),
        ("nginx", "nginx version: nginx/1.18.0 (Ubuntu)", False),
        ("nginx", "Segmentation fault", False),
        ("redis", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", True),
        ("redis", "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", False),
    ],
)
def test_server_of_the_machine_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, printed: str, *, is_used: bool
) -> None:
    """Ubuntu 22.04's nginx ends with `invalid option: "e"`."""
    program = tmp_path / ("nginx" if name == "nginx" else "redis-server")
    program.write_text(f"#!/bin/sh\necho '{printed}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert (getattr(servers.find_binaries(), name) == program) is is_used


def test_a_database_is_opened_by_the_version_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that is installed later cannot read its files."""
    for version in (97, 98):
        folder = tmp_path / "machine" / str(version) / "bin"
        folder.mkdir(parents=True)
        for name in ("initdb", "postgres"):
            (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}.1'\n")
            (folder / name).chmod(0o755)
    monkeypatch.setattr(servers, "_MACHINE_FOLDERS", tmp_path / "machine")
    data = tmp_path / "data"
    assert servers.find_binaries(data).postgres.parts[-3] == "98"
    data.mkdir()
    (data / "PG_VERSION").write_text("97\n")
    assert servers.find_binaries(data).postgres.parts[-3] == "97"
    (data / "PG_VERSION").write_text("96\n")
    with pytest.raises(servers.ServerFailed, match="is of PostgreSQL 96, and this machine has"):
        servers.find_binaries(data)


def test_pid_of_another_program_keeps_no_database_from_starting(
    binaries: servers.Binaries, closed_folder: Path
) -> None:
    """After a power cut the pid in postmaster.pid may belong to any process of the same user."""
    data, port = closed_folder / "data", servers.free_port()
    servers.init_postgres(binaries, data, "postgres", PASSWORD)
    command = servers.postgres_command(binaries, data, port, "fsync=off")
    log = closed_folder.with_name("postgres.log")
    sleep = servers.unprivileged(Path("/bin/sleep"))
    with subprocess.Popen([*sleep, "600"]) as other:
        try:
            # Until it is that user's, PostgreSQL may not signal it, and takes it for another's.
            wait_until(lambda: Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n")
            write_pid_file(data, other.pid)
            refused = subprocess.run(command, capture_output=True, text=True, check=False)
            assert 'lock file "postmaster.pid" already exists' in refused.stderr
            servers.remove_stale_pid_file(data)
            with running(command, log) as process:
                servers.wait_for_postgres(port, "postgres", PASSWORD, process)
                servers.remove_stale_pid_file(data)
                assert (data / "postmaster.pid").exists()  # it is the running server's
        finally:
            other.kill()


def write_pid_file(data: Path, pid: int) -> None:
    """Leave what a server leaves when the power is cut."""
    (data / "postmaster.pid").write_text(f"{pid}\n{data}\n1764500000\n5432\n\n127.0.0.1\n")
    servers.chown_to_nobody(data / "postmaster.pid")


@pytest.mark.parametrize("text", ["", "0\n", "999999999\n", "no number\n"])
def test_pid_file_without_a_process_is_left_to_postgres(tmp_path: Path, text: str) -> None:
    servers.remove_stale_pid_file(tmp_path)
    (tmp_path / "postmaster.pid").write_text(text)
    servers.remove_stale_pid_file(tmp_path)
    assert (tmp_path / "postmaster.pid").read_text() == text


def test_a_database_is_made_and_served_in_a_closed_folder(
    binaries: servers.Binaries, closed_folder: Path
) -> None:
    data = closed_folder / "data"
    servers.init_postgres(binaries, data, "postgres", PASSWORD)
    servers.init_postgres(binaries, data, "postgres", "of no effect the second time")
    assert [path.name for path in closed_folder.iterdir()] == ["data"]
    port = servers.free_port()
    command = servers.postgres_command(binaries, data, port, "fsync=off")
    with running(command, closed_folder.with_name("postgres.log")) as process:
        servers.wait_for_postgres(port, "postgres", PASSWORD, process)
        with pytest.raises(servers.ServerFailed, match="rejects the password"):
            servers.postgres_answers(port, "postgres", "wrong")
        for _ in range(2):
            servers.ensure_database(port, "postgres", PASSWORD, "odd name")
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname="odd name"
        )
        connection.close()
        assert Path(f"/proc/{process.pid}").stat().st_uid == data.stat().st_uid
        assert data.stat().st_uid != 0
    assert stat.S_IMODE(closed_folder.stat().st_mode) == 0o700


def test_an_interrupted_start_leaves_nothing_that_looks_like_a_database(
    binaries: servers.Binaries, closed_folder: Path
) -> None:
    half = closed_folder / "data.new"
    half.mkdir()
    (half / "PG_VERSION").touch()
    servers.init_postgres(binaries, closed_folder / "data", "postgres", PASSWORD)
    assert (closed_folder / "data" / "global").is_dir()
    assert not half.exists()


def test_error_of_initdb_is_passed_on(binaries: servers.Binaries, closed_folder: Path) -> None:
    with pytest.raises(servers.ServerFailed, match="initdb failed"):
        servers.init_postgres(binaries, closed_folder / "data", "pg_reserved", PASSWORD)
    assert list(closed_folder.iterdir()) == []


def test_redis_asks_for_a_password_that_no_command_line_shows(
    binaries: servers.Binaries, tmp_path: Path
) -> None:
    port = servers.free_port()
    command = servers.redis_command(binaries, tmp_path / "redis data", port, PASSWORD)
    assert not any(PASSWORD in word for word in command)
    assert stat.S_IMODE((tmp_path / "redis data" / "redis.conf").stat().st_mode) == 0o600
    with running(command, tmp_path / "redis.log") as process:
        servers.wait_for_port(port, process)
        with redis.Redis(port=port) as other, pytest.raises(redis.AuthenticationError):
            other.ping()
        with redis.Redis(port=port, password=PASSWORD) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.parametrize("password", ["two words", "p@ss/w#o r:d%", 'it\'s "é" \\x41', "#!"])
def test_redis_takes_any_password(
    binaries: servers.Binaries, tmp_path: Path, password: str
) -> None:
    """Where its configuration has a wrong line, Redis prints it."""
    home = Home(tmp_path / "home")
    home.create()
    secrets = replace(home.secrets(), redis_password=password)
    ports = replace(Ports.starting_at(5050), redis=servers.free_port())
    command = servers.redis_command(binaries, tmp_path / "redis", ports.redis, password)
    log = tmp_path / "redis.log"
    with running(command, log) as process:
        servers.wait_for_port(ports.redis, process)
        with redis.Redis.from_url(Installation(home, ports, secrets, {}).redis_url) as client:
            assert client.config_get("requirepass") == {"requirepass": password}
    assert "requirepass" not in log.read_text()


def damage_nothing(_: Path) -> None:
    pass


def append_garbage(folder: Path) -> None:
    with next(folder.glob("*.incr.aof")).open("ab") as file:
        file.write(bytes(4096))  # as a file system leaves it


def empty_the_manifest(folder: Path) -> None:
    (folder / "appendonly.aof.manifest").write_bytes(b"")


def lose_the_manifest(folder: Path) -> None:
    (folder / "appendonly.aof.manifest").unlink()


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (damage_nothing, b"wake-up"),
        (append_garbage, None),
        (empty_the_manifest, None),
        (lose_the_manifest, None),
    ],
)
def test_redis_starts_after_a_power_cut(
    binaries: servers.Binaries, tmp_path: Path, damage: Callable[[Path], None], kept: bytes | None
) -> None:
    port, data = servers.free_port(), tmp_path / "redis"
    for expected in (None, kept):
        with running(
            servers.redis_command(binaries, data, port, PASSWORD), tmp_path / "redis.log"
        ) as process:
            servers.wait_for_port(port, process)
            with redis.Redis(port=port, password=PASSWORD) as client:
                assert client.get("key") == expected
                client.set("key", "wake-up")
        damage(data / "appendonlydir")


def test_a_server_that_ends_is_noticed_at_once(tmp_path: Path) -> None:
    with running(["false"], tmp_path / "log") as process:
        process.wait()
        with pytest.raises(servers.ServerFailed, match="nothing answers"):
            servers.wait_for_port(servers.free_port(), process)
        with pytest.raises(servers.ServerFailed, match="does not answer"):
            servers.wait_for_postgres(servers.free_port(), "postgres", PASSWORD, process)


def test_servers_run_unprivileged() -> None:
    whoami = servers.unprivileged(Path("/usr/bin/id"))
    user = subprocess.run(
        [*whoami, "-u"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert user == ("65534" if os.geteuid() == 0 else str(os.geteuid()))
