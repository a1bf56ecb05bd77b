"""nginx with its real template, between a caller and stand-ins for both services."""

import json
import resource
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from string import Template
from typing import Any

import pytest
import requests

from idrl_local import config, home, servers
from idrl_testing import tls
from idrl_testing.http_servers import HttpServer, serving
from idrl_testing.processes import running
from idrl_testing.waiting import LIMIT_S

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
    disposition: str = ""
    answer: "Callable[[_Handler], None] | None" = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1]


@dataclass(frozen=True)
class Edge:
    """A running nginx; `session` has one connection, where it ends a call before the next."""

    port: int
    web: StandIn
    tasks: StandIn
    folder: Path
    process: subprocess.Popen[bytes]
    session: requests.Session

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are, and return what comes until the other side hangs up."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S) as connection:
            try:
                connection.sendall(request)
                while chunk := connection.recv(65536):
                    received += chunk
            except ConnectionError:  # hung up, perhaps before all was sent
                return received
        return received

    def access_log(self) -> str:
        """Stop nginx, which then has written everything down, and return its log."""
        self.process.send_signal(signal.SIGQUIT)  # after SIGTERM it kills what is late
        self.process.wait()
        return (self.folder / "access.log").read_text()


StartEdge = Callable[..., Edge]
StartService = Callable[..., StandIn]
StartContainer = Callable[..., tuple[int, int]]


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
            self.stand_in.release.wait(LIMIT_S)
        self._answer(self.server.name)  # type: ignore[attr-defined] # ours

    do_HEAD = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 # as the base class calls them

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, name: str) -> None:
        if "/parts/" in self.path and name == "web":
            where = f"/_clips/{sha256}" if (sha256 := self.stand_in.sha256) else "/_tasks"
            headers = {"X-Accel-Redirect": where + self.path, "Content-Type": "text/html"}
            if sha256 and self.stand_in.disposition:
                headers["Content-Disposition"] = self.stand_in.disposition
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
        stand_in: StandIn = self.server.stand_in  # type: ignore[attr-defined] # ours
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
        if self.stand_in.disposition:
            headers["Content-Disposition"] = self.stand_in.disposition
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
            server = HttpServer(("127.0.0.1", port), _Handler)
            stand_in = StandIn(server.server_port)
            server.stand_in, server.name = stand_in, name  # type: ignore[attr-defined] # ours
            stack.enter_context(serving(server))
            stack.callback(stand_in.release.set)
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
            folders = {
                "NGINX_TEMP": str(folder),
                "NGINX_ACCESS_LOG": str(folder / "access.log"),
                **(_tls(ports, *certificate) if certificate else {}),
                **variables,
            }
            values = {
                **config.nginx_variables(ports, {}),
                **dict.fromkeys(("AUTH_RATE", "API_RATE"), "1000r/s"),
                **dict.fromkeys(("AUTH_BURST", "API_BURST"), "1000"),
                **folders,
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
            session = stack.enter_context(requests.Session())
            return Edge(ports.nginx, web, tasks, folder, process, session)

        yield start


def _tls(ports: home.Ports, chain: Path, key: Path) -> dict[str, str]:
    return {
        "NGINX_LISTEN": f"127.0.0.1:{ports.nginx} ssl",
        "NGINX_TLS": f"ssl_certificate {chain}; ssl_certificate_key {key};",
    }


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a certificate for localhost, its own authority, and of its key."""
    return tls.write_certificate(tmp_path)


@pytest.fixture
def start_container(
    start_service: StartService,
    certificate: tuple[Path, Path],
    binaries: servers.Binaries,
    tmp_path: Path,
) -> Iterator[StartContainer]:
    """Starts nginx as the container's start.sh does, at other paths and ports, which it returns.

    `tasks_name` gives a name to the port `tasks_port`, instead of Docker's name server.
    """
    http_port, https_port = servers.free_port(), servers.free_port()
    replaced = {
        "/etc/idrl": str(config.NGINX_TEMPLATE.parent),
        "/etc/to_json.sed": str(config.NGINX_TEMPLATE.parents[2] / "common" / "to_json.sed"),
        "/run/tls/cert.pem": str(certificate[0]),
        "/run/tls/key.pem": str(certificate[1]),
        "/var/www/acme": str(tmp_path / "acme"),
        "/dev/stdout": str(tmp_path / "access.log"),
        "/var/tmp/clips": str(tmp_path / "clips"),  # noqa: S108 # not opened
        "/tmp/nginx": str(tmp_path / "nginx"),  # noqa: S108 # not opened
        "5050": f"127.0.0.1:{http_port}",
        "5443": f"127.0.0.1:{https_port}",
        "127.0.0.11": "127.0.0.1:1",
        "web:5002": f"127.0.0.1:{start_service('web').port}",
        "exec nginx": f"exec {binaries.nginx}",
    }
    script = (config.NGINX_TEMPLATE.parent / "start.sh").read_text()
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    servers.chown_to_nobody(tmp_path)
    variables = {"TASKS_URL": "http://127.0.0.1:1", "CLIP_CACHE_SIZE": "1m", "CONN_LIMIT": "9"}
    variables |= {"AUTH_RATE": "1r/s", "AUTH_BURST": "1", "API_RATE": "99r/s", "API_BURST": "99"}
    with ExitStack() as stack:

        def start(tasks_name: str = "", tasks_port: int = 0, **more: str) -> tuple[int, int]:
            block = f" upstream {tasks_name} {{ server 127.0.0.1:{tasks_port}; }}"
            named = script.replace("ipv6=off;", "ipv6=off;" + (block if tasks_name else ""))
            (tmp_path / "start.sh").write_text(named)
            environment = {**variables, "HTTPS_PORT": str(https_port), **more}
            command = servers.unprivileged(Path("/usr/bin/env"))
            command += [f"{name}={value}" for name, value in environment.items()]
            command += ["sh", str(tmp_path / "start.sh")]
            process = stack.enter_context(running(command, tmp_path / "log"))
            servers.wait_for_port(http_port, process)
            return http_port, https_port

        yield start


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
