"""The three machines: their settings, the share between them, and their addresses."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.engine import Engine
from harness.images import VARIABLES
from harness.ports import free_ports
from harness.stack import CHECKOUT, Stack

Secrets = Mapping[str, str]
USER = 10001
MARKER = ".idrl-share"
WEB_PORT, TASKS_PORT, SECOND_TASKS_PORT, REDIS_PORT, POSTGRES_PORT, *_TLS_PORTS = free_ports(7)
TASKS_TLS_PORT, REDIS_TLS_PORT = _TLS_PORTS
# nginx checks certificates for a DNS name only.
TASKS_NAME = "tasks.internal"
# So that a restart falls into the middle of the work: many small parts, rendered slowly.
SLOW = {"PART_SECONDS": "5", "RENDER_PRESET": "slow", "LEASE_S": "8", "SWEEP_S": "2"}


def make_secrets(path: Path) -> Secrets:
    """Return what `make env` writes."""
    subprocess.run(
        [CHECKOUT / "containers" / "make_env.sh", path], check=True, stdout=subprocess.DEVNULL
    )
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@dataclass
class Share:
    """What the file server exports, and the place where the worker machine mounts it."""

    folder: Path

    @property
    def exported(self) -> Path:
        return self.folder / "exported"

    @property
    def mount_point(self) -> Path:
        return self.folder / "machine" / "remote_folder"

    def create(self) -> None:
        """Make both folders; later mounts propagate into containers (shared, as with systemd)."""
        self.exported.mkdir(parents=True)
        self.mount_point.mkdir(parents=True)
        (self.exported / MARKER).touch()
        subprocess.run(["chown", "-R", f"{USER}:{USER}", self.exported], check=True)
        subprocess.run(
            ["mount", "--bind", self.mount_point.parent, self.mount_point.parent], check=True
        )
        subprocess.run(["mount", "--make-shared", self.mount_point.parent], check=True)

    def mount(self) -> None:
        """Mount the share unless it is."""
        if not (self.mount_point / MARKER).exists():
            subprocess.run(["mount", "--bind", self.exported, self.mount_point], check=True)

    def remove(self) -> None:
        """Unmount whatever is mounted."""
        for path in (self.mount_point, self.mount_point.parent):
            while _is_mount(path):
                subprocess.run(["umount", "--lazy", path], check=True)

    def clips(self, task_id: str) -> list[str]:
        """Return the names of the clips of a task: number.attempt.mp4."""
        return sorted(path.name for path in (self.exported / task_id).glob("*.mp4"))


def _is_mount(path: Path) -> bool:
    """Return whether something is mounted there; pathlib misses mounts of the same file system."""
    return subprocess.run(["mountpoint", "--quiet", path], check=False).returncode == 0


@dataclass
class Machines:
    """The stacks of the database, worker and web machines, in the order they are started."""

    engine: Engine
    folder: Path
    secrets: Secrets
    share: Share = field(init=False)
    psg: Stack = field(init=False)
    worker: Stack = field(init=False)
    web: Stack = field(init=False)

    def __post_init__(self) -> None:
        self.share = Share(self.folder / "share")
        self.psg = self.stack("psg", "psg", self.psg_variables())
        self.worker = self.stack("worker", "worker-server", self.worker_variables())
        self.web = self.stack("web", "web-server", self.web_variables())

    @property
    def url(self) -> str:
        return f"http://{self.engine.gateway()}:{WEB_PORT}"

    @property
    def all(self) -> tuple[Stack, ...]:
        return (self.psg, self.worker, self.web)

    def stack(self, name: str, folder: str, variables: Mapping[str, str]) -> Stack:
        """Return a stack with these variables; it is not started."""
        stack = Stack(self.engine, f"idrl{name}", CHECKOUT / folder, self.folder / f"{name}.env")
        stack.write_env(variables)
        return stack

    def psg_variables(self) -> dict[str, str]:
        names = ("POSTGRES_PASSWORD", "WEB_DB_PASSWORD", "WORKER_DB_PASSWORD")
        own = {name: self.secrets[name] for name in names}
        return {
            **own,
            **VARIABLES,
            "POSTGRES_BIND": self.engine.gateway(),
            "POSTGRES_PUBLISHED_PORT": str(POSTGRES_PORT),
        }

    def worker_variables(self) -> dict[str, str]:
        gateway = self.engine.gateway()
        return {
            **self._database("WORKER_DB_PASSWORD"),
            **VARIABLES,
            "JWT_PUBLIC_KEY": self.secrets["JWT_PUBLIC_KEY"],
            "REDIS_PASSWORD": self.secrets["REDIS_PASSWORD"],
            "REDIS_URL": self.secrets["REDIS_URL"],
            "REDIS_BIND": gateway,
            "REDIS_PORT": str(REDIS_PORT),
            "TASKS_BIND": gateway,
            "TASKS_PORT": str(TASKS_PORT),
            "REMOTE_FOLDER": str(self.share.mount_point),
            "FETCH_ALLOW_HOSTS": gateway,
            "WEBHOOK_ALLOW_HOSTS": gateway,
            "SOURCE_RETRY_S": "30",  # a source that never answers is given up within a test
            "RENDER_CONCURRENCY": "2",
        }

    def web_variables(self) -> dict[str, str]:
        keys = {name: self.secrets[name] for name in ("JWT_PRIVATE_KEY", "JWT_PUBLIC_KEY")}
        tasks_url = f"http://{self.engine.gateway()}:{TASKS_PORT}"
        variables = {"TASKS_URL": tasks_url, "PORT": str(WEB_PORT)}
        return {**self._database("WEB_DB_PASSWORD"), **VARIABLES, **keys, **variables}

    def worker_tls_variables(self, chain: Path, key: Path) -> dict[str, str]:
        """Return what a worker machine sets to answer others by TLS only."""
        return {
            "COMPOSE_FILE": "docker-compose.yml:tls.yml",
            "TASKS_BIND": "127.0.0.1",
            "REDIS_BIND": "127.0.0.1",
            "TLS_BIND": self.engine.gateway(),
            "TLS_CERT": str(chain),
            "TLS_KEY": str(key),
            "TASKS_TLS_PORT": str(TASKS_TLS_PORT),
            "REDIS_TLS_PORT": str(REDIS_TLS_PORT),
        }

    def web_tls_variables(self, chain: Path) -> dict[str, str]:
        """Return what the web machine sets to call such a worker machine."""
        return {
            "COMPOSE_FILE": "docker-compose.yml:tasks-ca.yml",
            "TASKS_URL": f"https://{TASKS_NAME}:5443",
            "TASKS_CA": str(chain),
        }

    def second_worker_tls_variables(self, chain: Path) -> dict[str, str]:
        """Return what a further worker machine sets to use the Redis of such a worker machine."""
        password = self.secrets["REDIS_PASSWORD"]
        return {
            "COMPOSE_FILE": "docker-compose.yml:redis-ca.yml",
            "FIRST_WORKER": "0",
            "REDIS_URL": f"rediss://:{password}@{self.engine.gateway()}:{REDIS_TLS_PORT}/0",
            "REDIS_CA": str(chain),
            "TASKS_PORT": str(SECOND_TASKS_PORT),
        }

    def start(self) -> None:
        """Start the machines one after the other; the share is not mounted yet."""
        self.share.create()
        for stack in self.all:
            stack.up()

    def remove(self) -> None:
        """Remove whatever was started."""
        try:
            for stack in reversed(self.all):
                stack.down()
        finally:
            self.share.remove()

    def _database(self, password: str) -> dict[str, str]:
        return {
            "POSTGRES_HOST": self.engine.gateway(),
            "POSTGRES_PORT": str(POSTGRES_PORT),
            "POSTGRES_PASSWORD": self.secrets[password],
        }
