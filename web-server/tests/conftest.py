"""The web app on a real PostgreSQL, with a stand-in for the tasks service at its edge."""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idrl_local import servers
from idrl_testing.database import Database
from idrl_testing.http_servers import HttpServer, serving
from idrl_testing.processes import running
from idrl_testing.waiting import LIMIT_S
from web_server import account_removal
from web_server.app import create_app
from web_server.db import db
from web_server.settings import Settings

pytest.register_assert_rewrite("web_testing")

MakeApp = Callable[..., Flask]


@dataclass(frozen=True)
class Keys:
    """A key pair, as the settings take it."""

    private: str
    public: str

    @classmethod
    def new(cls) -> "Keys":
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return cls(private.decode(), public.decode())


@dataclass
class AuthActions:
    """Sign-up and log-in over HTTP."""

    client: FlaskClient
    password: str = "Passw0rd-of-a-test"

    def signup(
        self, username: str = "ada", email: str = "ada@example.com", **changed: object
    ) -> TestResponse:
        body = {
            "username": username,
            "email": email,
            "password": self.password,
            "password_2": self.password,
        }
        return self.client.post("/auth/signup", json={**body, **changed})

    def login(self, email: str = "ada@example.com", password: str | None = None) -> TestResponse:
        return self.client.post(
            "/auth/login", json={"email": email, "password": password or self.password}
        )

    def bearer(self) -> dict[str, str]:
        """Sign up, log in, and return the header that proves it."""
        self.signup()
        answer = self.login()
        assert answer.json is not None
        return {"Authorization": f"Bearer {answer.json['token']}"}


@dataclass(frozen=True)
class Seen:
    """One request as the stand-in got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One connection to the stand-in."""

    protocol_version = "HTTP/1.1"
    server: "TasksStandIn"

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
        self.server.answer(self)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # whatever the method is called
            return self._do
        raise AttributeError(name)

    def respond(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        """Answer in one go."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection, as a service that is restarted does."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Log no request."""


class TasksStandIn(HttpServer):
    """A fake tasks service, whose answers a test defines."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.seen: list[Seen] = []
        self.answer: Callable[[Exchange], None] = lambda exchange: exchange.respond(200, b"{}")
        self.url = f"http://127.0.0.1:{self.server_port}"


ServeTasks = Callable[..., AbstractContextManager[TasksStandIn]]


@contextmanager
def _serving(port: int = 0) -> Iterator[TasksStandIn]:
    server = TasksStandIn(port)
    with serving(server):
        yield server


@pytest.fixture
def tasks() -> Iterator[TasksStandIn]:
    """The stand-in, listening: `tasks.seen` is what it got, `tasks.answer` what it does."""
    with _serving() as server:
        yield server


@pytest.fixture
def serve_tasks() -> ServeTasks:
    """Starts another stand-in for a block, on a free port or the one given."""
    return _serving


@pytest.fixture(autouse=True)
def _long_removal_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an account's removal take as long as a busy machine needs."""
    monkeypatch.setattr(account_removal, "_REMOVAL_S", LIMIT_S)


@pytest.fixture(scope="session")
def keys() -> Keys:
    """The key pair of the app under test."""
    return Keys.new()


@pytest.fixture(scope="session")
def other_keys() -> Keys:
    """A key pair that the app does not know."""
    return Keys.new()


@pytest.fixture
def settings(database: Database, keys: Keys, tasks: TasksStandIn) -> Settings:
    """The settings of the app under test."""
    return Settings(
        postgres_host=database.host,
        postgres_port=database.port,
        postgres_db=database.name,
        postgres_user="web",
        postgres_password=database.password,
        jwt_private_key=keys.private,
        jwt_public_key=keys.public,
        tasks_url=tasks.url,
    )


class Caller(FlaskClient):
    """Ends every answer as a server does, read or not; `buffered=False` leaves it open."""

    def open(self, *args: object, buffered: bool = True, **kwargs: object) -> TestResponse:
        return super().open(*args, buffered=buffered, **kwargs)  # type: ignore[arg-type] # as the test gave them


@pytest.fixture
def make_app(settings: Settings) -> Iterator[MakeApp]:
    """Builds an app, with some settings changed."""
    made: list[Flask] = []

    def make(**changed: object) -> Flask:
        app = create_app(settings.model_copy(update=changed))
        app.test_client_class = Caller
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """The web app."""
    return make_app()


@dataclass(frozen=True)
class Served:
    """The web app as it is deployed: behind gunicorn, in its own process."""

    url: str
    log: Path
    pid: int


@pytest.fixture
def served(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """The app served by gunicorn."""
    port, log = servers.free_port(), tmp_path / "gunicorn.log"
    values = settings.model_dump(exclude_none=True).items()
    environment = {name.upper(): str(value) for name, value in values}
    options = [
        "--config",
        "python:idrl_common.gunicorn_conf",
        "--bind",
        f"127.0.0.1:{port}",
        "--threads",
        "32",
    ]
    command = [sys.executable, "-m", "gunicorn", *options, "web_server.wsgi:app"]
    with running(
        ["env", *(f"{name}={value}" for name, value in environment.items()), *command], log
    ) as process:
        servers.wait_for_port(port, process)
        yield Served(f"http://127.0.0.1:{port}", log, process.pid)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A caller without a token."""
    return app.test_client()


@pytest.fixture
def auth(client: FlaskClient) -> AuthActions:
    """Sign-up and log-in of that caller."""
    return AuthActions(client)


@pytest.fixture
def headers(auth: AuthActions) -> dict[str, str]:
    """A caller's token, as requests carry it."""
    return auth.bearer()
