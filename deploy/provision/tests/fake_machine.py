"""A machine's folders in a temporary one, and a server in place of Google's.

It answers as GCE's metadata server, as Secret Manager and as a bucket do.
"""

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

PROVISION = Path(__file__).parents[1]
CHECKOUT = PROVISION.parents[1]
TOKEN = "ya29.token-of-the-machine"
NOWHERE = "http://127.0.0.1:1"

SETTINGS = {
    "web": {
        "idrl-tasks-host": "worker.internal",
        "idrl-database-host": "10.9.0.3",
        "idrl-revision": "abc123",
    },
    "worker": {
        "idrl-tasks-host": "worker.internal",
        "idrl-file-host": "file.internal",
        "idrl-database-host": "10.9.0.3",
        "idrl-revision": "abc123",
    },
    "file": {"idrl-worker-subnet": "10.0.2.0/24", "idrl-revision": "abc123"},
}
SECRETS = {
    "web": [
        "idrl-jwt-private-key",
        "idrl-jwt-public-key",
        "idrl-postgres-owner-password",
        "idrl-postgres-web-password",
        "idrl-postgres-worker-password",
    ],
    "worker": ["idrl-jwt-public-key", "idrl-redis-password", "idrl-postgres-worker-password"],
    "file": [],
}


def variable_of(name: str) -> str:
    return name.upper().replace("-", "_")


def make_secrets() -> dict[str, str]:
    """Return one value for every secret, of the kind it has to be."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    passwords = ("redis", "postgres-owner", "postgres-web", "postgres-worker")
    return {
        "idrl-jwt-private-key": private,
        "idrl-jwt-public-key": public,
        **{f"idrl-{name}-password": f"secret-of-{name}" for name in passwords},
    }


@dataclass
class Done:
    """How a script ended."""

    code: int
    output: str


@dataclass
class Machine:
    """The folders of a machine on which nothing is installed."""

    folder: Path
    secrets: dict[str, str] = field(default_factory=make_secrets)

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def opt(self) -> Path:
        return self.folder / "opt"

    def write_settings(self, settings: dict[str, str], *further: str) -> None:
        lines = [f"{variable_of(name)}={value}" for name, value in settings.items()]
        (self.etc / "machine.env").write_text("\n".join([*lines, *further, ""]))

    def write_secrets(self, *names: str) -> None:
        path = self.etc / "secrets.env"
        values = (
            (variable_of(name), self.secrets[name].strip().replace("\n", "\\n")) for name in names
        )
        path.write_text("".join(f"{name}={value}\n" for name, value in values))
        path.chmod(0o600)

    @property
    def units(self) -> Path:
        return self.folder / "units"

    def program(self, name: str, script: str) -> None:
        """Put a shell script instead of a program of the system."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def calls(self) -> str:
        """Return what programs noted in the file that they know as $CALLS."""
        path = self.folder / "calls"
        return path.read_text() if path.exists() else ""

    def run(self, *command: str | Path, metadata_url: str = NOWHERE, **variables: str) -> Done:
        """Run a command as on this machine; one second is all it may wait for anything."""
        self.units.mkdir(exist_ok=True)
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.folder / "calls"),
            "IDRL_ETC": str(self.etc),
            "IDRL_OPT": str(self.opt),
            "IDRL_UNITS": str(self.units),
            # No systemd, whatever this machine has.
            "IDRL_SYSTEMD": str(self.folder / "no-systemd"),
            "IDRL_METADATA_URL": metadata_url,
            "IDRL_WAIT_S": "1",
            "IDRL_APT_PAUSE_S": "0",
            **variables,
        }
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def check(self, role: str, metadata_url: str = NOWHERE) -> Done:
        """Run the role's script with --check, which changes nothing."""
        return self.run(PROVISION / role, "--check", metadata_url=metadata_url)

    def shell(self, script: str, **variables: str) -> Done:
        """Run a script in which the libraries' functions are known."""
        libraries = "".join(f". {path}; " for path in sorted((PROVISION / "lib").glob("*.sh")))
        return self.run("sh", "-euc", libraries + script, **variables)


@dataclass
class Cloud:
    """What the cloud knows, and the requests to it, each with its headers."""

    attributes: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    # Attributes that are answered with 503: always, or once each.
    failing: set[str] = field(default_factory=set)
    failing_once: set[str] = field(default_factory=set)

    def is_failing(self, path: str) -> bool:
        """Return whether this request is answered with 503."""
        name = path.rpartition("/")[2]
        if name in self.failing_once:
            self.failing_once.remove(name)
            return True
        return name in self.failing

    def answer(self, path: str, headers: dict[str, str]) -> bytes | None:
        """Return the body for a path; None if it is unknown or the headers are wrong."""
        instance = "/computeMetadata/v1/instance/"
        if path.startswith("/computeMetadata/"):
            if headers.get("Metadata-Flavor") != "Google":
                return None
            known = {
                "/computeMetadata/v1/project/project-id": "my-project",
                f"{instance}service-accounts/default/token": json.dumps(
                    {"access_token": TOKEN, "expires_in": 3599}
                ),
                **{
                    f"{instance}attributes/{name}": value for name, value in self.attributes.items()
                },
            }
            return known[path].encode() if path in known else None
        if path.startswith("/v1/projects/my-project/secrets/"):
            name = path.split("/")[5]
            if headers.get("Authorization") != f"Bearer {TOKEN}" or name not in self.secrets:
                return None
            data = base64.b64encode(self.secrets[name].encode()).decode()
            return json.dumps({"name": name, "payload": {"data": data}}).encode()
        return self.objects.get(path)
