"""The processes of an installation: command, environment, and how each is stopped."""

import ipaddress
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from idrl_common.memory import usable_renders
from idrl_local import listeners, servers
from idrl_local.home import CHECKOUT, Home, HomeUnusable, Ports, Secrets

DATABASE = "idrl"
_TO_JSON = CHECKOUT / "common" / "to_json.sed"
SUPERUSER = "postgres"
READY_FILE = "IDRL_READY_FILE"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Prefixes of variables that programs never inherit from the caller's environment.
_RESERVED_PREFIXES = (
    "POSTGRES_",
    "JWT_",
    "WEB_DB_",
    "WORKER_DB_",
    "REDIS_",
    "TASKS_URL",
    "REMOTE_FOLDER",
    "PROMETHEUS_",
    "PROCESS_FOLDER",
    "IDRL_LISTENERS",
    "PG",
    # Read by Celery, gunicorn and Flask besides their command lines; a caller's own project may
    # set them.
    "CELERY_",
    "GUNICORN_",
    "FLASK_",
)
# A file `.env` in the checkout is docker-compose's: `make up` has not checked what it says.
_NO_ENV_FILE = {"PYTHON_DOTENV_DISABLED": "1"}
# Threads of the web app wait for passwords to be hashed; see web_server.passwords.
_WEB_THREADS = 32
_TASKS_THREADS = 8


@dataclass(frozen=True)
class Installation:
    """A home with its ports and secrets, and the settings that the caller passes on."""

    home: Home
    ports: Ports
    secrets: Secrets
    environment: Mapping[str, str]

    @property
    def redis_url(self) -> str:
        password = quote(self.secrets.redis_password, safe="")
        return f"redis://:{password}@127.0.0.1:{self.ports.redis}/0"

    @property
    def url(self) -> str:
        """The address for people and clients on this machine."""
        scheme = "https" if self.environment.get("TLS_CERT") else "http"
        return f"{scheme}://{self.reachable_host}:{self.ports.nginx}"

    @property
    def reachable_host(self) -> str:
        """The address at which nginx answers on this machine."""
        host = host_of(self.environment)
        return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 # compared, not listened on

    @property
    def web_url(self) -> str:
        """The address of the web app behind nginx, which needs no certificate."""
        return f"http://127.0.0.1:{self.ports.web}"

    @property
    def sample_url(self) -> str:
        """The address of a video that the system may fetch."""
        return f"http://127.0.0.1:{self.ports.sample}/sample.mp4"


Command = Callable[[Installation], list[str]]


def host_of(environment: Mapping[str, str]) -> str:
    """Return the address that nginx listens on, HOST or loopback; raise HomeUnusable for a name."""
    host = environment.get("HOST") or "127.0.0.1"
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError as error:
        raise HomeUnusable(
            f"HOST must be an IPv4 address of this machine, such as 0.0.0.0, not {host!r}"
        ) from error


class PlainLog(Enum):
    """Which output of a program is plain text, to be turned into JSON: all, or standard error."""

    ALL = (1, 2)
    ERRORS = (2,)


@dataclass(frozen=True)
class Program:
    """One process that supervisord keeps running; `group` members are stopped together.

    `stop_wait_s` is the time between the signal and the kill of the whole process group.
    """

    name: str
    group: str
    command: Command
    environment: Callable[[Installation], dict[str, str]]
    stop_signal: str = "TERM"
    stop_wait_s: int = 15
    unprivileged: bool = False
    plain_log: PlainLog | None = None


def execute(program: Program, installation: Installation) -> None:
    """Become the program: does not return."""
    home = installation.home
    home.lock(program.name).acquire()
    listeners.close_others(program.name, installation.environment)
    (home.run / f"{program.name}.ready").unlink(missing_ok=True)
    if program.unprivileged:
        # The pipe to supervisord: a server opens it again, by the name /dev/stdout.
        servers.chown_to_nobody(sys.stdout.fileno())
    command = program.command(installation)
    if program.plain_log:
        _write_json(program.name, program.plain_log)
    environment = environment_of(program, installation)
    empty_metrics_folder(environment)
    os.execvpe(command[0], command, environment)  # noqa: S606 # this is what it is for


def empty_metrics_folder(environment: Mapping[str, str]) -> None:
    """Empty the program's folder, if any: figures of ended processes must not be added up."""
    if METRICS_FOLDER in environment:
        folder = Path(environment[METRICS_FOLDER])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()


def environment_of(program: Program, installation: Installation) -> dict[str, str]:
    """Return the whole environment of the program."""
    return _inherited(installation) | program.environment(installation)


def _inherited(installation: Installation) -> dict[str, str]:
    kept = {name: value for name, value in installation.environment.items() if is_passed_on(name)}
    return kept | _NO_ENV_FILE


def _write_json(name: str, plain: PlainLog) -> None:
    """Lead this process's plain output through a filter, which ends with the process."""
    command = ["sed", "--unbuffered", "-E", "-f", str(_TO_JSON), "-e", f"s/@SERVICE@/{name}/"]
    environment = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment).stdin
    assert pipe is not None  # noqa: S101 # it was requested
    for descriptor in plain.value:
        os.dup2(pipe.fileno(), descriptor)


def manage_users(installation: Installation, words: Sequence[str]) -> None:
    """Become the web app's command line for accounts: does not return."""
    settings = {
        **_database(installation, "web", installation.secrets.web_db_password),
        "JWT_PRIVATE_KEY": _one_line(installation.secrets.jwt_private_key),
    }
    command = [sys.executable, "-m", "flask", "--app", "web_server", "users", *words]
    os.execve(command[0], command, _inherited(installation) | settings)  # noqa: S606 # this is what it is for


def is_passed_on(name: str) -> bool:
    """Return whether the programs inherit this variable of the caller's."""
    return not name.startswith(_RESERVED_PREFIXES)


def _postgres(installation: Installation) -> list[str]:
    logs = installation.home.logs / "postgres"
    logs.mkdir(exist_ok=True)
    servers.chown_to_nobody(logs)
    data = installation.home.data / "postgres"
    servers.remove_stale_pid_file(data)  # its lock is ours by now
    return servers.postgres_command(
        servers.find_binaries(data),
        data,
        installation.ports.postgres,
        "log_destination=jsonlog",
        "logging_collector=on",
        f"log_directory={logs}",
        # One file a weekday, overwritten a week later.
        "log_filename=%a.log",
        "log_rotation_age=1d",
        "log_truncate_on_rotation=on",
    )


def _redis(installation: Installation) -> list[str]:
    return servers.redis_command(
        servers.find_binaries(),
        installation.home.data / "redis",
        installation.ports.redis,
        installation.secrets.redis_password,
    )


def _nginx(installation: Installation) -> list[str]:
    run = installation.home.run
    nginx = servers.unprivileged(servers.find_binaries().nginx)
    return [*nginx, "-p", str(run / "nginx"), "-c", str(run / "nginx.conf"), "-e", "stderr"]


def _gunicorn(name: str, app: str, workers: int, threads: int) -> Command:
    def command(installation: Installation) -> list[str]:
        port, environment = getattr(installation.ports, name), installation.environment
        return [
            *(sys.executable, "-m", "gunicorn", app),
            *("--config", "python:idrl_common.gunicorn_conf"),
            *("--bind", listeners.bind_address(name, port, environment)),
            *("--workers", str(workers), "--threads", str(threads)),
        ]

    return command


def _celery(name: str, variable: str, default: int) -> Command:
    """Return the command of a worker whose number of children the caller may set by `variable`."""

    def command(installation: Installation) -> list[str]:
        return [
            *(sys.executable, "-m", "celery", "--quiet", "-A", "worker_server.worker:app"),
            *("worker", "-Q", name, "-n", f"{name}@%h", "-I", "idrl_local.worker_hooks"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            *("-c", installation.environment.get(variable) or str(default)),
        ]

    return command


def _sweep(_: Installation) -> list[str]:
    return [sys.executable, "-m", "idrl_local.run_sweeper"]


def _in_utc(_: Installation) -> dict[str, str]:
    """Return the environment of servers whose log lines name no time zone."""
    return {"TZ": "UTC"}


def _database(installation: Installation, user: str, password: str) -> dict[str, str]:
    return {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(installation.ports.postgres),
        "POSTGRES_DB": DATABASE,
        "POSTGRES_USER": user,
        "POSTGRES_PASSWORD": password,
        "POSTGRES_SSLMODE": "disable",
        "JWT_PUBLIC_KEY": _one_line(installation.secrets.jwt_public_key),
        "PROCESS_FOLDER": str(installation.home.run),
    }


def _web_environment(installation: Installation) -> dict[str, str]:
    return {
        **_database(installation, "web", installation.secrets.web_db_password),
        "JWT_PRIVATE_KEY": _one_line(installation.secrets.jwt_private_key),
        "TASKS_URL": f"http://127.0.0.1:{installation.ports.tasks}",
        "ACCEL_REDIRECT": "true",
        "SAMPLE_URL": installation.environment.get("SAMPLE_URL") or installation.sample_url,
        "CLIP_CACHE_DISK": str(installation.home.run),
        METRICS_FOLDER: str(installation.home.run / "metrics-web"),
    }


def _worker_environment(installation: Installation) -> dict[str, str]:
    return {
        **_database(installation, "worker", installation.secrets.worker_db_password),
        "REDIS_URL": installation.redis_url,
        "REMOTE_FOLDER": str(installation.home.share),
        "SCRATCH_FOLDER": installation.environment.get("SCRATCH_FOLDER")
        or str(installation.home.scratch),
        "FETCH_ALLOW_HOSTS": _allowed_hosts(installation),
    }


def _allowed_hosts(installation: Installation) -> str:
    """Return what the caller allows, and the sample."""
    allowed = installation.environment.get("FETCH_ALLOW_HOSTS", "")
    return f"{allowed},127.0.0.1:{installation.ports.sample}".lstrip(",")


def _tasks_environment(installation: Installation) -> dict[str, str]:
    metrics = str(installation.home.run / "metrics-tasks")
    return {**_worker_environment(installation), METRICS_FOLDER: metrics}


def _celery_environment(name: str) -> Callable[[Installation], dict[str, str]]:
    def environment(installation: Installation) -> dict[str, str]:
        return {
            **_worker_environment(installation),
            READY_FILE: str(installation.home.run / f"{name}.ready"),
        }

    return environment


def _one_line(pem: str) -> str:
    return pem.replace("\n", "\\n")


def _worker(name: str, command: Command) -> Program:
    # TERM goes to the main process alone: it has its children release their leases, and then ends
    # them itself.
    return Program(name, "services", command, _celery_environment(name), stop_wait_s=30)


# The services are stopped before the stores. INT makes PostgreSQL end its connections, where TERM
# would wait for the clients; QUIT lets nginx finish the answers that are under way.
PROGRAMS = (
    Program(
        "postgres",
        "stores",
        _postgres,
        _in_utc,
        stop_signal="INT",
        stop_wait_s=30,
        unprivileged=True,
        plain_log=PlainLog.ALL,
    ),
    Program("redis", "stores", _redis, _in_utc, plain_log=PlainLog.ALL),
    _worker("fetch", _celery("fetch", "FETCH_CONCURRENCY", 4)),
    _worker("render", _celery("render", "RENDER_CONCURRENCY", usable_renders())),
    _worker("sweep", _sweep),
    Program(
        "web",
        "services",
        _gunicorn("web", "web_server.wsgi:app", 2, _WEB_THREADS),
        _web_environment,
    ),
    Program(
        "tasks",
        "services",
        _gunicorn("tasks", "worker_server.wsgi:app", 1, _TASKS_THREADS),
        _tasks_environment,
    ),
    Program(
        "nginx",
        "services",
        _nginx,
        _in_utc,
        stop_signal="QUIT",
        stop_wait_s=5,
        unprivileged=True,
        # Its access log is JSON already.
        plain_log=PlainLog.ERRORS,
    ),
)
STORES = ("postgres", "redis")
WORKERS = ("fetch", "render", "sweep")
