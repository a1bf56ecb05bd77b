"""A machine with nothing on it, and a cloud that knows nothing yet."""

import io
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.provision.tests.fake_machine import CHECKOUT, Cloud, Machine
from idrl_testing.http_servers import serving


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "etc").mkdir()
    return Machine(tmp_path)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the server calls
            cloud.requests.append((self.path, dict(self.headers)))
            if cloud.is_failing(self.path):
                self.send_error(503)
                return
            body = cloud.answer(self.path, dict(self.headers))
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Log no request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield cloud


@pytest.fixture
def file_release() -> bytes:
    """The part of the checkout that settings are checked with, as the archive of a release."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in (
            "deploy/provision",
            "web-server/.env.example",
            "worker-server/.env.example",
            "psg/.env.example",
        ):
            archive.add(CHECKOUT / name, name)
    return file.getvalue()
