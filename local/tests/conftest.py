"""nginx with its real template, between a caller and stand-ins for both services."""

import datetime
import json
import resource
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from idrl_local import config, home, servers
from idrl_testing.processes import running

CLIP = bytes(range(256)) * 4096 * 8


@dataclass
class StandIn:
    """A service that records its connections and requests; /slow hangs until `release` is set.

    With `sha256` the web app has checked the clip and says that this is it, and the tasks service
    has that clip. `answer` takes the place of what the service would answer: to any call, the tasks
    service to one for a clip.
    """

    port: int
    sha256: str = ""
    answer: "Callable[[_Handler], None] | None" = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1]


@dataclass(frozen=True)
class Edge:
    """A running nginx."""

    port: int
    web: StandIn
    tasks: StandIn
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def raw(self, request: bytes, timeout_s: float = 10) -> bytes:
        """Send bytes as they are, and return what comes until the other side hangs up."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            connection.sendall(request)
            try:
                while chunk := connection.recv(65536):
                    received += chunk
            except ConnectionResetError:
                return received
        return received

    def access_log(self) -> str:
        """Stop nginx, which then has written everything down, and return its log."""
        self.process.terminate()
        self.process.wait()
        return (self.folder / "access.log").read_text()


StartEdge = Callable[..., Edge]
StartService = Callable[..., StandIn]


class _Handler(BaseHTTPRequestHandler):
    """Answers with the request; for a clip's path, redirects nginx as the web app does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.rfile.read(length),
            "connection": self.client_address,
        }
        self.stand_in.requests.append(seen)
        if self.path == "/slow":
            self.stand_in.release.wait(30)
        self._answer(self.server.name)  # type: ignore[attr-defined]

    do_HEAD = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 # as the base class calls them

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, name: str) -> None:
        if "/parts/" in self.path and name == "web":
            where = f"/_clips/{sha256}" if (sha256 := self.stand_in.sha256) else "/_tasks"
            headers = {"X-Accel-Redirect": where + self.path, "Content-Type": "text/html"}
            tag = f'"{sha256}"'
            if sha256 and "Range" in self.headers and self.headers.get("If-Range", tag) == tag:
                headers["Accept-Ranges"] = "bytes"  # as the web app does for a 206
            self.send(200, headers, b"")
        elif self.path.endswith("/parts/404"):
            self.send(
                404, {"Content-Type": "application/problem+json"}, b'{"code":"part_not_found"}'
            )
        elif "/parts/" in self.path or self.stand_in.answer:
            (self.stand_in.answer or _Handler.clip)(self)
        else:
            headers = {
                "Content-Type": "application/json",
                "X-Request-Id": self.headers.get("X-Request-Id", ""),
            }
            self.send(200, headers, json.dumps({"service": name}).encode())

    @property
    def stand_in(self) -> StandIn:
        stand_in: StandIn = self.server.stand_in  # type: ignore[attr-defined]
        return stand_in

    def clip(self, **more: str) -> None:
        tag = f'"{self.stand_in.sha256 or "e"}"'
        if self.headers.get("If-Match", tag) != tag:
            return self.send(
                412, {"Content-Type": "application/problem+json"}, b'{"code":"precondition_failed"}'
            )
        headers = {"Content-Type": "video/mp4", "ETag": tag, "Cache-Control": "private, no-cache"}
        headers |= {"X-Request-Id": self.headers.get("X-Request-Id", ""), "Accept-Ranges": "bytes"}
        headers |= {"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT", **more}
        if self.headers.get("Range") == "bytes=1-3":
            total = {"Content-Range": f"bytes 1-3/{len(CLIP)}"}
            return self.send(206, headers | total, CLIP[1:4])
        return self.send(200, headers, CLIP)

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sockets of homes far down go: `tmp_path` is too long itself."""
    assert tmp_path  # made before the place for such folders changes
    with tempfile.TemporaryDirectory(prefix="idrl-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def start_service() -> Iterator[StartService]:
    """Starts a stand-in named `web` or `tasks`, on a free port or the one given."""
    with ExitStack() as stack:

        def start(name: str, port: int = 0) -> StandIn:
            server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
            stand_in = StandIn(server.server_port)
            server.stand_in, server.name = stand_in, name  # type: ignore[attr-defined]
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            for step in (server.server_close, thread.join, server.shutdown, stand_in.release.set):
                stack.callback(step)
            return stand_in

        yield start


@pytest.fixture
def start_edge(
    tmp_path: Path, binaries: servers.Binaries, start_service: StartService
) -> Iterator[StartEdge]:
    """Starts nginx before two stand-ins (or before the ports given).

    `replaced` maps text of the template to other text.
    """
    with ExitStack() as stack:

        def start(
            web: StandIn | None = None,
            tasks: StandIn | None = None,
            replaced: dict[str, str] | None = None,
            certificate: tuple[Path, Path] | None = None,
            **variables: str,
        ) -> Edge:
            web, tasks = web or start_service("web"), tasks or start_service("tasks")
            ports = home.Ports(
                nginx=servers.free_port(),
                web=web.port,
                tasks=tasks.port,
                postgres=0,
                redis=0,
                sample=servers.free_port(),
            )
            folder = tmp_path / f"nginx-{ports.nginx}"
            folder.mkdir()
            ours = {
                "NGINX_TEMP": str(folder),
                "NGINX_ACCESS_LOG": str(folder / "access.log"),
                **(_tls(ports, *certificate) if certificate else {}),
                **variables,
            }
            values = {
                **config.nginx_variables(ports, {}),
                **dict.fromkeys(("AUTH_RATE", "API_RATE"), "1000r/s"),
                **dict.fromkeys(("AUTH_BURST", "API_BURST"), "1000"),
                **ours,
            }
            text = Template(config.NGINX_TEMPLATE.read_text()).safe_substitute(values)
            for old, new in (replaced or {}).items():
                assert old in text
                text = text.replace(old, new)
            (folder / "nginx.conf").write_text(text)
            servers.chown_to_nobody(folder)
            nginx = servers.unprivileged(binaries.nginx)
            command = [*nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
            process = stack.enter_context(running(command, folder / "error.log"))
            servers.wait_for_port(ports.nginx, process)
            return Edge(ports.nginx, web, tasks, folder, process)

        yield start


def _tls(ports: home.Ports, chain: Path, key: Path) -> dict[str, str]:
    return {
        "NGINX_LISTEN": f"127.0.0.1:{ports.nginx} ssl",
        "NGINX_TLS": f"ssl_certificate {chain}; ssl_certificate_key {key};",
    }


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a certificate for localhost, its own authority, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    chain, key_file = tmp_path / "certificate.pem", tmp_path / "key.pem"
    chain.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for path in (chain, key_file):
        servers.chown_to_nobody(path)
    return chain, key_file


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have as many connections as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 3000
    assert hard == resource.RLIM_INFINITY or hard >= needed
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def edge(start_edge: StartEdge) -> Edge:
    """An nginx with its default settings, but for the rate of log-ins."""
    return start_edge()
