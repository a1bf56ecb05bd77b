"""What Google provides to a machine: metadata, its account's token, the secrets it may read.

Machines are identified by the address they call from, as by the real metadata server.
"""

import base64
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import expected
from expected import METADATA, Machine

from idrl_testing import http_servers

PROJECT = "staging"
# How long a machine finds no release, from its first call: longer than a try of bootstrap takes.
WITHOUT_RELEASE_S = 60
_SECRET = re.compile(rf"/v1/projects/{PROJECT}/secrets/([a-z0-9-]+)/versions/latest:access")
_PREFIX = "/computeMetadata/v1/"


@dataclass
class Cloud:
    """The answers for each machine, and a token for each."""

    machines: Mapping[str, Machine]
    attributes: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, str]
    release: Path
    # The machines' settings for the release, and the folder with Debian's packages.
    pointer: str
    packages: Path
    # When each machine first called for a release.
    first_calls: dict[str, float] = field(default_factory=lambda: dict[str, float]())
    tokens: dict[str, str] = field(default_factory=lambda: dict[str, str]())

    def metadata(self, machine: Machine, path: str) -> bytes | None:
        """Return what the metadata server says of `path`, or nothing where it does not know it."""
        if path.startswith("instance/attributes/"):
            value = self.attributes[machine.name].get(path.removeprefix("instance/attributes/"))
            return None if value is None else value.encode()
        if path == "instance/service-accounts/default/token":
            token = self.tokens.setdefault(machine.name, secrets.token_urlsafe())
            return json.dumps(
                {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
            ).encode()
        plain = {"instance/name": machine.name, "project/project-id": PROJECT}
        return plain[path].encode() if path in plain else None

    def secret(self, token: str, name: str) -> tuple[int, bytes]:
        """Return the status and body of Secret Manager's answer."""
        owner = next(
            (self._role(machine) for machine, known in self.tokens.items() if known == token), None
        )
        if owner is None:
            return 401, _problem(401, "UNAUTHENTICATED")
        if name not in expected.SECRETS[owner]:
            return 403, _problem(403, "PERMISSION_DENIED")
        data = base64.b64encode(self.secrets[name].encode()).decode()
        full_name = f"projects/{PROJECT}/secrets/{name}/versions/1"
        return 200, json.dumps({"name": full_name, "payload": {"data": data}}).encode()

    def released(self, address: str, name: str) -> tuple[int, bytes]:
        """Return the answer of the bucket with the releases to the machine at that address."""
        known = {"current": self.pointer.encode, "release.tar.gz": self.release.read_bytes}
        first = self.first_calls.setdefault(address, time.monotonic())
        if name not in known or time.monotonic() < first + WITHOUT_RELEASE_S:
            return 404, b""
        return 200, known[name]()

    def package(self, name: str) -> tuple[int, bytes]:
        """Return the answer of the archive of packages."""
        path = self.packages / Path(name).name
        return (200, path.read_bytes()) if path.is_file() else (404, b"")

    def _role(self, name: str) -> str:
        return next(machine.role for machine in self.machines.values() if machine.name == name)


def _problem(status: int, name: str) -> bytes:
    return json.dumps({"error": {"code": status, "status": name}}).encode()


class _Request(BaseHTTPRequestHandler):
    cloud: Cloud

    def do_GET(self) -> None:
        machine = self.cloud.machines.get(self.client_address[0])
        match = _SECRET.fullmatch(self.path)
        if match:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self._answer(*self.cloud.secret(token, match[1]))
        elif self.path.startswith("/releases/"):
            name = self.path.removeprefix("/releases/")
            self._answer(*self.cloud.released(self.client_address[0], name))
        elif self.path.startswith("/packages/"):
            self._answer(*self.cloud.package(self.path.removeprefix("/packages/")))
        elif machine and self.path.startswith(_PREFIX):
            self._answer_metadata(machine, self.path.removeprefix(_PREFIX))
        else:
            self._answer(404, b"")

    def _answer_metadata(self, machine: Machine, path: str) -> None:
        if self.headers.get("Metadata-Flavor") != "Google":
            self._answer(403, b"")
            return
        body = self.cloud.metadata(machine, path)
        self._answer(404 if body is None else 200, body or b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the library's name
        """Log no request: responses contain tokens and secrets."""


@contextmanager
def serving(cloud: Cloud) -> Iterator[None]:
    """Answer at the address that machines know the metadata server by."""
    handler = type("Request", (_Request,), {"cloud": cloud})
    with http_servers.serving(ThreadingHTTPServer((METADATA, 80), handler)):
        yield
