"""The system that faults are injected into: started by `idrl_local`, with a share of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2
import redis
import requests

from chaos import loop_share
from chaos.loop_share import LoopShare
from chaos.receiver import Receiver, listening
from chaos.sources import PART_S, Sources, served
from idrl_local import system
from idrl_local.config import RATE_LIMITS_OFF
from idrl_local.home import Home, free_ports
from idrl_local.programs import DATABASE, SUPERUSER, Installation
from idrl_testing.waiting import wait_until

RESERVE_BYTES = 64 * 1024**2
_SETTINGS = {
    "FETCH_ALLOW_HOSTS": "127.0.0.1",
    "WEBHOOK_ALLOW_HOSTS": "127.0.0.1",
    **RATE_LIMITS_OFF,
    "PART_SECONDS": str(PART_S),
    "STORAGE_RESERVE_BYTES": str(RESERVE_BYTES),
}
_CONNECT_TIMEOUT_S = 3
# A call to a service that is starting hangs until its new processes accept.
_READY_TIMEOUT_S = 5
Row = tuple[object, ...]


@dataclass
class Target:
    """The running system; `share` is None where this machine cannot mount one."""

    installation: Installation
    sources: Sources
    receiver: Receiver
    share: LoopShare | None
    no_share_because: str | None

    @property
    def home(self) -> Home:
        return self.installation.home

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Run a statement as the superuser; psycopg2.OperationalError while PostgreSQL is down."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.installation.ports.postgres,
            dbname=DATABASE,
            user=SUPERUSER,
            password=self.installation.secrets.postgres_password,
            connect_timeout=_CONNECT_TIMEOUT_S,
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def redis(self) -> "redis.Redis":
        """Return a client that waits a few seconds at most; close it."""
        return redis.Redis.from_url(self.installation.redis_url, socket_timeout=5)

    def processes(self, program: str) -> list[psutil.Process]:
        """Return the processes of a program, its main process first; none while it is down."""
        lock = self.home.lock(program)
        if not lock.is_locked():
            return []
        try:
            main = psutil.Process(lock.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def supervised(self) -> list[psutil.Process]:
        """Return every process of the system but supervisord."""
        return psutil.Process(self.home.lock("supervisord").pid).children(recursive=True)

    def is_ready(self) -> bool:
        """Return whether every check of the tasks service's `/ready` passes."""
        url = f"http://127.0.0.1:{self.installation.ports.tasks}/ready"
        try:
            document = requests.get(url, timeout=_READY_TIMEOUT_S).json()
            return self._web_is_ready() and all(
                check["ok"] for name, check in document["checks"].items() if name != "faults"
            )
        except (requests.RequestException, ValueError, KeyError):
            return False

    def _web_is_ready(self) -> bool:
        return (
            requests.get(f"{self.installation.url}/ready", timeout=_READY_TIMEOUT_S).status_code
            == 200
        )

    def wait_until_ready(self, timeout_s: float = 300) -> bool:
        """Wait until the system is ready; return whether it is."""
        try:
            wait_until(self.is_ready, timeout_s, poll_s=0.5)
        except AssertionError:
            return False
        return True

    def readiness(self) -> str:
        url = f"http://127.0.0.1:{self.installation.ports.tasks}/ready"
        try:
            return requests.get(url, timeout=_READY_TIMEOUT_S).text
        except requests.RequestException as error:
            return str(error)


@contextmanager
def running(**settings: str) -> Iterator[Target]:
    """Run a system while the block runs; its folder is kept when the block raises."""
    folder = Path(tempfile.mkdtemp(prefix="idrl-chaos-"))
    with ExitStack() as stack:
        home = Home(folder / "home")
        home.create()
        reason = loop_share.unavailable(folder)
        share = None
        if reason is None:
            share = stack.enter_context(loop_share.mounted(home.share, folder / "share.img"))
        sources = stack.enter_context(served(_new(folder / "sources")))
        receiver = stack.enter_context(listening())
        environment = {**os.environ, **_SETTINGS, **settings}
        installation = stack.enter_context(system.running(home, free_ports(), environment))
        yield Target(installation, sources, receiver, share, reason)
    shutil.rmtree(folder, ignore_errors=True)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
