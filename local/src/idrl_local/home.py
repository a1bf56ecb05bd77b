"""Where one installation keeps everything, which ports it has, and its secrets."""

import errno
import hashlib
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dotenv import dotenv_values

from idrl_local.pidlocks import PidLock

CHECKOUT = Path(__file__).resolve().parents[3]
DEFAULT_PORT = 5050
_SERVICES = ("nginx", "web", "tasks", "postgres", "redis", "sample")
# sun_path holds 108 bytes on Linux, and supervisord puts its own ending on the name while it binds.
_SOCKET_PATH_MAX = 90


class HomeUnusable(Exception):
    """The installation cannot be used as it is; the message says what to change."""


class PortTaken(Exception):
    """Another process listens on a port of one of our services."""


@dataclass(frozen=True)
class Ports:
    """Six consecutive ports; the first one is the public one, the last serves a sample."""

    nginx: int
    web: int
    tasks: int
    postgres: int
    redis: int
    sample: int

    @classmethod
    def starting_at(cls, first: int) -> Self:
        """Return the six from `first` on; raise HomeUnusable if ordinary users cannot use them."""
        if not 1024 <= first <= 65535 - len(_SERVICES):
            raise HomeUnusable(f"PORT must be from 1024 to {65535 - len(_SERVICES)}, not {first}")
        return cls(*range(first, first + len(_SERVICES)))

    def check_free(self, host: str = "127.0.0.1") -> None:
        """Raise PortTaken, naming the first port that is taken; `host` is the public one's."""
        for name in _SERVICES:
            port = getattr(self, name)
            if not _is_free(host if name == "nginx" else "127.0.0.1", port):
                raise PortTaken(
                    f"port {port}, which {name} would use, is taken;"
                    " set PORT to the first of six free ports"
                )


@dataclass(frozen=True)
class Secrets:
    """Made at the first start, different in every installation; the key pair is in PEM form."""

    postgres_password: str
    web_db_password: str
    worker_db_password: str
    redis_password: str
    jwt_private_key: str
    jwt_public_key: str


@dataclass(frozen=True)
class Home:
    """The folder of one installation: its data, logs, run files and secrets."""

    root: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return the folder that IDRL_HOME names, else `.idrl` in the checkout."""
        return cls(Path(environment.get("IDRL_HOME") or CHECKOUT / ".idrl").absolute())

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def sample_folder(self) -> Path:
        """Holds the video that the system serves on its sixth port."""
        return self.root / "sample"

    @property
    def share(self) -> Path:
        """Stands in for the mounted folder of the file server."""
        return self.root / "share"

    @property
    def scratch(self) -> Path:
        """Where clips are made, before they are copied to the share."""
        return self.root / "scratch"

    @property
    def secrets_file(self) -> Path:
        return self.root / "secrets.env"

    @property
    def socket(self) -> Path:
        """Where supervisord listens: in a private folder elsewhere where this path is too long."""
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
            return path
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        # The owner of the run folder, not the caller: root asks about the user's processes too.
        owner = self.run.stat().st_uid if self.run.exists() else os.getuid()
        folder = Path(tempfile.gettempdir()) / f"idrl-{owner}-{digest}"
        return _private_folder(folder, owner) / "supervisor.sock"

    @property
    def socket_from_home(self) -> str:
        """The same, as seen from the home."""
        return str(
            self.socket.relative_to(self.root)
            if self.socket.is_relative_to(self.root)
            else self.socket
        )

    def remove_socket(self) -> None:
        """Remove the socket, and the folder that was made for it alone."""
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.run:
            self.socket.parent.rmdir()

    def lock(self, name: str) -> PidLock:
        """Return the lock of one program, or `command`: the lock against concurrent commands.

        Processes of 0.1.0 hold files of another name: what was upgraded below them can stop them.
        """
        former = PidLock(self.run / f"{name}.mark")
        return former if former.is_locked() else PidLock(self.run / f"{name}.lock")

    def create(self) -> None:
        """Make the folders, closed to other users. Safe to run twice."""
        try:
            self.root.mkdir(parents=True, mode=0o700, exist_ok=True)
            for folder in (self.data, self.logs, self.run, self.share):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HomeUnusable(
                f"IDRL_HOME={self.root} cannot be used: {error.strerror} ({error.filename});"
                " set IDRL_HOME to a folder that you may write to"
            ) from error
        # Where root has prepared the folders, the home itself stays root's.
        if not all(map(_is_writable, (self.data, self.logs, self.run, self.share))):
            raise HomeUnusable(
                f"IDRL_HOME={self.root} is not writable for you;"
                " set IDRL_HOME to a folder that you may write to"
            )

    @contextmanager
    def exclusively(self, write_line: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Let only one command at a time start or stop this installation.

        `write_line` gets a message where another one has to end first.
        """
        self.create()
        message = f"waiting for another `make up` or `make down` of {self.root} to end"
        with self.lock("command").hold(lambda: write_line(message)):
            yield

    def secrets(self) -> Secrets:
        """Return the secrets, made now at the first start; raise HomeUnusable when lost."""
        if not self.secrets_file.exists():
            if (self.data / "postgres").exists():
                raise HomeUnusable(
                    f"{self.secrets_file} is missing,"
                    " and the database beside it opens only with its passwords"
                )
            write_private(self.secrets_file, _as_env(_new_secrets()))
        values = dotenv_values(self.secrets_file)
        by_name = {name: values.get(name.upper()) or "" for name in Secrets.__dataclass_fields__}
        for name, value in by_name.items():
            if not value:
                raise HomeUnusable(f"{self.secrets_file} does not set {name.upper()}")
        return Secrets(**by_name)


def port_from_environment(environment: Mapping[str, str]) -> int:
    """Return PORT, 5050 where it is not set; raise HomeUnusable when it is not a number."""
    return number_from_environment(environment, "PORT", DEFAULT_PORT)


def number_from_environment(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of seconds or the like; raise HomeUnusable for any other text."""
    value = environment.get(name) or str(default)
    if not value.isascii() or not value.isdigit():
        raise HomeUnusable(f"{name} must be a whole number, not {value!r}")
    return int(value)


def free_ports() -> Ports:
    """Return six consecutive ports that were free a moment ago."""
    while True:
        ports = Ports.starting_at(20000 + 6 * secrets.randbelow(1600))
        try:
            ports.check_free()
        except PortTaken:
            continue
        return ports


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: sockets in TIME_WAIT of a system just stopped do not count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise HomeUnusable(f"HOST={host} is not an address of this machine") from error
            return False
        return True


def _new_secrets() -> Secrets:
    # Imported here, at the first start: every process of the system loads this module.
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    return Secrets(
        postgres_password=secrets.token_hex(24),
        web_db_password=secrets.token_hex(24),
        worker_db_password=secrets.token_hex(24),
        redis_password=secrets.token_hex(24),
        jwt_private_key=private.decode(),
        jwt_public_key=public.decode(),
    )


def _as_env(values: Secrets) -> str:
    names = Secrets.__dataclass_fields__
    lines = (f'{name.upper()}="{getattr(values, name)}"'.replace("\n", "\\n") for name in names)
    return (
        "# Made at the first start. With this file one can act as every user.\n"
        + "\n".join(lines)
        + "\n"
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, complete or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600, exist_ok=False)
    new.write_text(text)
    new.rename(path)


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _private_folder(path: Path, owner: int) -> Path:
    """Make a folder in a world-writable place; raise HomeUnusable if another user's is there."""
    if owner == os.getuid() or not path.exists():
        path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid not in (owner, os.getuid()) or status.st_mode & 0o077:
        raise HomeUnusable(f"{path} is not ours alone; choose an IDRL_HOME with a shorter path")
    return path
