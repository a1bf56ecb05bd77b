"""TLS from the web machine to the tasks service: real nginx on both sides, a local authority."""

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_testing import tls
from idrl_testing.waiting import LIMIT_S
from web_server.tasks_client import TasksService, TasksUnavailable

if TYPE_CHECKING:
    from conftest import StandIn, StartContainer, StartService

CLIP_SHA256 = hashlib.sha256(bytes(range(256)) * 4096 * 8).hexdigest()
# Of an address, which nginx cannot check; of nothing at all; and of what cannot be read.
UNUSABLE = [
    {"TASKS_URL": "https://10.0.0.4:5443"},
    {"TASKS_CA": ""},
    {"TASKS_CA": "/nowhere.pem"},
]


@pytest.fixture
def tasks(start_service: "StartService") -> "StandIn":
    return start_service("tasks")


@pytest.fixture
def worker(tasks: "StandIn", certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[int]:
    """The port at which the tasks service is reached with TLS."""
    folder = tmp_path / "worker"
    folder.mkdir()
    with tls.worker_machine(folder, certificate, tasks=tasks.port) as ports:
        yield ports.tasks


@pytest.fixture
def other_authority(tmp_path: Path) -> Path:
    (tmp_path / "other").mkdir()
    return tls.write_certificate(tmp_path / "other")[0]


def test_clips_and_uploads_go_to_the_tasks_service_by_tls(
    start_container: "StartContainer",
    worker: int,
    tasks: "StandIn",
    certificate: tuple[Path, Path],
) -> None:
    port, _ = start_container(
        "localhost", worker, TASKS_URL="https://localhost", TASKS_CA=str(certificate[0])
    )
    clip = requests.get(f"http://127.0.0.1:{port}/tasks/t/parts/0", timeout=LIMIT_S)
    assert (clip.status_code, hashlib.sha256(clip.content).hexdigest()) == (200, CLIP_SHA256)
    upload = os.urandom(3_000_000)
    answer = requests.patch(f"http://127.0.0.1:{port}/uploads/u", upload, timeout=LIMIT_S)
    assert answer.json() == {"service": "tasks"}
    assert tasks.last["body"] == upload
    assert (
        requests.post(f"http://127.0.0.1:{port}/brands", b"x", timeout=LIMIT_S).status_code == 200
    )
    assert [seen["path"] for seen in tasks.requests] == [
        "/tasks/t/parts/0",
        "/uploads/u",
        "/brands",
    ]


@pytest.mark.parametrize("kind", ["another authority", "another name", "no TLS"])
def test_nginx_refuses_a_tasks_service_that_does_not_prove_itself(
    start_container: "StartContainer",
    worker: int,
    tasks: "StandIn",
    certificate: tuple[Path, Path],
    other_authority: Path,
    kind: str,
) -> None:
    name = "other.example" if kind == "another name" else "localhost"
    authority = other_authority if kind == "another authority" else certificate[0]
    port, _ = start_container(
        name,
        tasks.port if kind == "no TLS" else worker,
        TASKS_URL=f"https://{name}",
        TASKS_CA=str(authority),
    )
    for method, path in (("GET", "/tasks/t/parts/0"), ("PATCH", "/uploads/u"), ("POST", "/brands")):
        answer = requests.request(
            method, f"http://127.0.0.1:{port}{path}", data=b"x", timeout=LIMIT_S
        )
        assert answer.status_code in (502, 503)
        assert answer.json()["code"] == "tasks_unavailable"
    assert tasks.requests == []


def test_web_app_checks_the_certificate(
    worker: int,
    tasks: "StandIn",
    certificate: tuple[Path, Path],
    other_authority: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def client(url: str, authority: Path | None) -> TasksService:
        limits = {"connect_timeout_s": LIMIT_S, "timeout_s": LIMIT_S}
        return TasksService(url, **limits, pool_size=1, authority=authority)

    url = f"https://localhost:{worker}"
    answer = client(url, certificate[0]).send("GET", "/tasks", {"Authorization": "Bearer x"}, None)
    assert answer.json() == {"service": "tasks"}
    assert len(tasks.requests) == 1
    for wrong_url, authority in (
        (url, other_authority),
        (url, None),  # no authority of the machine's own list
        (f"https://127.0.0.1:{worker}", certificate[0]),
        (f"https://localhost:{tasks.port}", certificate[0]),
    ):
        with pytest.raises(TasksUnavailable):
            client(wrong_url, authority).send("GET", "/tasks", {}, None)
    assert caplog.text.count("TLS verification of the tasks service failed") == 4
    assert len(tasks.requests) == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_worker_machine_refuses_old_tls(worker: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", worker), timeout=LIMIT_S) as connection,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(connection)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("TASKS_BIND", "0.0.0.0"), ("REDIS_BIND", "10.0.0.4")],  # noqa: S104 # refused
)
def test_tls_is_refused_while_the_plain_port_is_open(
    certificate: tuple[Path, Path], tmp_path: Path, setting: str, value: str
) -> None:
    command = tls.start_script(tmp_path, certificate, tasks=1, redis=1, tasks_tls=1, redis_tls=1)
    loopback = {"TASKS_BIND": "127.0.0.1", "REDIS_BIND": "127.0.0.1"}
    refused = subprocess.run(
        command,
        env={**os.environ, **loopback, setting: value},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert refused.returncode == 1
    assert f"{setting}=127.0.0.1" in refused.stderr


@pytest.mark.parametrize("wrong", UNUSABLE, ids=str)
def test_nginx_does_not_start_when_it_cannot_verify_the_service(
    certificate: tuple[Path, Path], wrong: dict[str, str], tmp_path: Path
) -> None:
    nginx = tmp_path / "nginx"
    nginx.write_text('#!/bin/sh\ntouch "$0.started"\n')
    nginx.chmod(0o755)
    env = {"TASKS_URL": "https://tasks.example:5443", "TASKS_CA": str(certificate[0]), **wrong}
    refused = subprocess.run(
        [shutil.which("sh") or "sh", _start_sh()],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **env},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("TASKS_URL is https: ")
    assert not list(tmp_path.glob("*.started"))


def _start_sh() -> str:
    return str(Path(__file__).parents[2] / "web-server" / "nginx" / "start.sh")
