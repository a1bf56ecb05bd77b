"""The services as `make up` runs them, without workers: no process claims a benchmark's tasks."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from bench.database import connect
from idrl_common.token_verifier import TokenVerifier
from idrl_local import config, servers
from idrl_local.home import Home, free_ports
from idrl_local.programs import DATABASE, PROGRAMS, SUPERUSER, Installation
from psg import migrate
from psg.settings import Settings as SchemaSettings
from web_server.token_signer import TokenSigner

OWNER = 1
_PROGRAMS = {program.name: program for program in PROGRAMS}
_STORES = ("postgres", "redis")
_START_TIMEOUT_S = 60
_SERVICES = ("web", "tasks", "nginx")
# One address sends more than nginx allows; what is measured is the call, not the refusal.
_NO_LIMITS = {
    "API_RATE": "100000r/s",
    "API_BURST": "100000",
    "AUTH_RATE": "100000r/s",
    "AUTH_BURST": "100000",
    "CONN_LIMIT": "10000",
}


@dataclass(frozen=True)
class Stack:
    """What runs: `processes` by name, each with its children."""

    installation: Installation
    processes: dict[str, psutil.Process]

    @property
    def token(self) -> str:
        """A token of OWNER."""
        return self.token_of(OWNER)

    def token_of(self, owner: int) -> str:
        secrets = self.installation.secrets
        return TokenSigner(secrets.jwt_private_key, TokenVerifier(secrets.jwt_public_key)).sign(
            owner
        )

    def execute(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run one statement as the superuser, outside of a transaction, and return its rows."""
        connection = connect(self.installation)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time that each program and its living children have used."""
        return {name: sum(map(_cpu_s, _tree(process))) for name, process in self.processes.items()}


@contextmanager
def running(*, stores_only: bool = False) -> Iterator[Stack]:
    """Run the services, or PostgreSQL and Redis alone, while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="idrl-bench-"))
    home = Home(folder / "home")
    try:
        with home.exclusively(), ExitStack() as stack:
            installation = Installation(
                home, free_ports(), home.secrets(), {**os.environ, **_NO_LIMITS}
            )
            yield _start(installation, stack, () if stores_only else _SERVICES)
    finally:
        shutil.rmtree(folder)


@contextmanager
def baseline(stack: Stack, documents: object) -> Iterator[int]:
    """Serve `bench.baseline_app` with the tasks service's gunicorn settings; return its port."""
    ports, home = stack.installation.ports, stack.installation.home
    port = servers.free_port()
    changed = {
        "worker_server.wsgi:app": "bench.baseline_app:app",
        f"127.0.0.1:{ports.tasks}": f"127.0.0.1:{port}",
    }
    command = [changed.get(word, word) for word in _PROGRAMS["tasks"].command(stack.installation)]
    file = home.root / "documents.json"
    file.write_text(json.dumps(documents))
    with _process(
        "bare", command, {**os.environ, "IDRL_BENCH_DOCUMENTS": str(file)}, home.logs
    ) as process:
        stack.processes["bare"] = process
        _wait_for_answer(f"http://127.0.0.1:{port}/tasks")
        yield port
    del stack.processes["bare"]


def _start(installation: Installation, stack: ExitStack, services: Sequence[str]) -> Stack:
    home, ports, secrets = installation.home, installation.ports, installation.secrets
    servers.init_postgres(
        servers.find_binaries(), home.data / "postgres", SUPERUSER, secrets.postgres_password
    )
    (home.share / ".idrl-share").touch()
    config.write_nginx(installation)
    processes: dict[str, psutil.Process] = {}
    for name in (*_STORES, *services):
        program = _PROGRAMS[name]
        environment = {**os.environ, **program.environment(installation)}
        processes[name] = stack.enter_context(
            _process(name, program.command(installation), environment, home.logs)
        )
        if name == "postgres":
            _prepare(installation)
    for port in (ports.web, ports.tasks, ports.nginx) if services else ():
        _wait_for_answer(f"http://127.0.0.1:{port}/health")
    return Stack(installation, processes)


def _prepare(installation: Installation) -> None:
    secrets, port = installation.secrets, installation.ports.postgres
    servers.wait_for_postgres(port, SUPERUSER, secrets.postgres_password)
    servers.ensure_database(port, SUPERUSER, secrets.postgres_password, DATABASE)
    settings = SchemaSettings(
        postgres_port=port,
        postgres_db=DATABASE,
        postgres_user=SUPERUSER,
        postgres_password=secrets.postgres_password,
        web_db_password=secrets.web_db_password,
        worker_db_password=secrets.worker_db_password,
    )
    migrate.upgrade(migrate.engine_for(settings), settings)


@contextmanager
def _process(
    name: str, command: list[str], environment: dict[str, str], logs: Path
) -> Iterator[psutil.Process]:
    with (logs / f"{name}.log").open("wb") as output:
        servers.chown_to_nobody(output.fileno())  # nginx reopens it as another user
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for_answer(url: str) -> None:
    """A port may accept connections before the program behind it is ready."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.05)
    raise servers.ServerFailed(f"nothing answers at {url}")


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
