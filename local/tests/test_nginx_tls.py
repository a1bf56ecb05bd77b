"""TLS at the edge: in make up on the port itself, in the container with redirects from HTTP."""

import contextlib
import http.client
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_local import servers
from idrl_testing.waiting import LIMIT_S

if TYPE_CHECKING:
    from conftest import Edge, StartContainer, StartEdge

HALF_OPEN = 2500
OTHER_ADDRESS = "127.0.0.2"
# Longer than a test takes, so that nginx keeps half-open connections until it ends.
KEEP_HALF_OPEN = {"client_header_timeout 5s;": "client_header_timeout 900s;"}


@pytest.fixture
def secure(start_edge: "StartEdge", certificate: tuple[Path, Path]) -> "Edge":
    """An nginx that speaks TLS on its port, as after `make up` with TLS_CERT and TLS_KEY."""
    return start_edge(certificate=certificate)


def test_tls(secure: "Edge", certificate: tuple[Path, Path]) -> None:
    url = f"https://localhost:{secure.port}/tasks"
    answer = requests.get(url, timeout=LIMIT_S, verify=str(certificate[0]))
    assert answer.json() == {"service": "web"}
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    assert secure.web.last["headers"]["x-forwarded-proto"] == "https"
    missing = requests.get(
        f"https://localhost:{secure.port}/metrics", timeout=LIMIT_S, verify=str(certificate[0])
    )
    assert missing.status_code == 404
    assert missing.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_on_the_tls_port_is_redirected(secure: "Edge", method: str) -> None:
    url = f"localhost:{secure.port}/tasks?max=4"
    answer = requests.request(method, f"http://{url}", timeout=LIMIT_S, allow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://{url}"
    assert secure.web.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_1_0_and_1_1_are_refused(secure: "Edge", version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=LIMIT_S) as connection,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(connection)


def test_container_with_tls(
    start_container: "StartContainer", certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    challenge = tmp_path / "acme" / ".well-known" / "acme-challenge"
    challenge.mkdir(parents=True)
    (challenge / "token").write_text("proof")
    http_port, https_port = start_container(
        TLS_CERT="x", TLS_KEY="x", METRICS_FROM="10.0.0.0/8, 127.0.0.1"
    )
    http, https, ca_path = (
        f"http://localhost:{http_port}",
        f"https://localhost:{https_port}",
        str(certificate[0]),
    )
    answer = requests.get(f"{http}/tasks?a=b", timeout=LIMIT_S, allow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{https}/tasks?a=b"
    answer = requests.get(f"{https}/tasks", timeout=LIMIT_S, verify=ca_path)
    assert answer.json() == {"service": "web"}
    assert answer.headers["Strict-Transport-Security"]
    assert requests.get(f"{https}/metrics", timeout=LIMIT_S, verify=ca_path).status_code == 200
    url = f"{http}/.well-known/acme-challenge"
    assert requests.get(f"{url}/token", timeout=LIMIT_S).text == "proof"
    assert requests.get(f"{url}/none", timeout=LIMIT_S, allow_redirects=False).status_code == 404


def test_container_without_tls(start_container: "StartContainer") -> None:
    http_port, https_port = start_container()
    answer = requests.get(f"http://localhost:{http_port}/tasks", timeout=LIMIT_S)
    assert answer.json() == {"service": "web"}
    assert "Strict-Transport-Security" not in answer.headers
    assert requests.get(f"http://localhost:{http_port}/metrics", timeout=LIMIT_S).status_code == 404
    assert not servers.port_answers(https_port)


@pytest.mark.usefixtures("many_files")
def test_half_open_handshakes_leave_room_for_other_addresses(
    start_edge: "StartEdge", certificate: tuple[Path, Path]
) -> None:
    """Each sends the beginning of a ClientHello, for which nginx sets up a TLS session."""
    secure = start_edge(certificate=certificate, replaced=KEEP_HALF_OPEN)
    with contextlib.ExitStack() as stack:
        half_open = []
        for _ in range(HALF_OPEN):
            slow = socket.create_connection(("127.0.0.1", secure.port), timeout=LIMIT_S)
            stack.enter_context(slow).sendall(b"\x16\x03\x01\x02\x00\x01")
            half_open.append(slow)
        connection = http.client.HTTPSConnection(
            "localhost",
            secure.port,
            timeout=LIMIT_S,
            source_address=(OTHER_ADDRESS, 0),
            context=ssl.create_default_context(cafile=str(certificate[0])),
        )
        with contextlib.closing(connection):
            connection.request("GET", "/tasks")
            assert connection.getresponse().status == 200
        for slow in half_open:
            slow.setblocking(False)
            with pytest.raises(BlockingIOError):
                slow.recv(1)  # none had to end for the call
