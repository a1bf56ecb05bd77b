"""A proxy in the environment does not stand between the parts of a system on one machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from idrl_local import servers
from idrl_local.proxies import exempt_loopback, remove_libpq_variables
from idrl_testing.http_servers import serving
from idrl_testing.waiting import LIMIT_S


class _Refusing(BaseHTTPRequestHandler):
    """A server that answers 204 to a direct request and 403 to one for a proxy."""

    def do_GET(self) -> None:
        self.send_response(403 if self.path.startswith("http://") else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log no request."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("given", [None, "intern.example", "*.example, 10.0.0.0/8"])
def test_this_machine_is_reached_directly(
    url: str, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", url)
    if given:
        monkeypatch.setenv("NO_PROXY", given)
    assert requests.get(url, timeout=LIMIT_S).status_code == 403
    environment = dict(os.environ)
    exempt_loopback(environment)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, environment[name])
    assert requests.get(url, timeout=LIMIT_S).status_code == 204


def test_existing_exemptions_are_kept() -> None:
    environment = {"no_proxy": "intern.example", "NO_PROXY": "localhost,other.example"}
    exempt_loopback(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"]
    assert environment["no_proxy"].split(",") == [
        *("intern.example", "localhost", "other.example", "127.0.0.1", "::1"),
    ]


@pytest.mark.parametrize("name", ["PGSERVICE", "PGSSLMODE"])
def test_libpq_variables_are_removed(name: str) -> None:
    """Nothing listens at the port; libpq says so where no variable sends it elsewhere before."""
    code = (
        "import os; from idrl_local import proxies, servers\n"
        "proxies.remove_libpq_variables(os.environ)\n"
        f"servers._connect({servers.free_port()}, 'postgres', '')"
    )
    environment = {**os.environ, name: "nowhere"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "Connection refused" in done.stderr


def test_other_variables_are_kept() -> None:
    environment = {"PGOPTIONS": "-c x=y", "PATH": "/bin"}
    remove_libpq_variables(environment)
    assert environment == {"PATH": "/bin"}
