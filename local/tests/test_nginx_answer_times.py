"""How long callers wait for a tasks service that has stopped: 15 s at most, uploads apart."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_local import config, servers
from idrl_testing.waiting import LIMIT_S
from web_server import gateway

if TYPE_CHECKING:
    from conftest import Edge, StartEdge, StartService, _Handler

SHA256 = "a" * 64
CLIP = "/tasks/7/parts/0"
ANSWERED_WITHIN_S = 15
# Longer than the service, a thread of the tests, is kept waiting for a processor.
READ_LIMIT_S = 3


@pytest.fixture
def frozen_port(tmp_path: Path) -> Iterator[int]:
    """The port of a service whose process is stopped: its socket still takes connections."""
    port = servers.free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        servers.wait_for_port(port, process)
        process.send_signal(signal.SIGSTOP)
        yield port
        process.kill()


def upstreams(web_port: int, tasks_port: int) -> str:
    ports = {"web": web_port, "tasks": tasks_port}
    return " ".join(
        f"upstream {name} {{ server 127.0.0.1:{port}; }}" for name, port in ports.items()
    )


def timed(url: str, method: str = "GET") -> tuple[float, requests.Response]:
    began = time.monotonic()
    answer = requests.request(method, url, timeout=60)
    return time.monotonic() - began, answer


@pytest.mark.slow  # takes as long as callers have to wait
def test_calls_to_a_frozen_tasks_service_are_answered_in_time(
    start_edge: "StartEdge", start_service: "StartService", frozen_port: int
) -> None:
    webs = start_service("web"), start_service("web")
    webs[0].sha256 = SHA256
    checked, plain = (
        start_edge(web, NGINX_UPSTREAMS=upstreams(web.port, frozen_port)).url for web in webs
    )
    calls = [
        (checked + CLIP, "GET"),
        (plain + CLIP, "GET"),
        (f"{plain}{CLIP}/poster.jpg", "GET"),
        (f"{plain}/uploads/7", "HEAD"),
        (f"{plain}/uploads/7", "PATCH"),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda call: timed(*call), calls))
    assert {answer.status_code for _, answer in answers} == {504}
    assert all(answer.headers["Retry-After"] for _, answer in answers)
    assert max(elapsed_s for elapsed_s, _ in answers) < ANSWERED_WITHIN_S
    # The web app has requested this clip before nginx does.
    assert answers[0][0] + gateway._CHECK_TIMEOUT_S < ANSWERED_WITHIN_S


def test_only_files_of_brands_may_take_longer() -> None:
    text = config.NGINX_TEMPLATE.read_text()
    timeouts = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert sorted(map(int, timeouts))[-2:] == [14, 90]
    (brands,) = re.findall(r"location ~ \^/brands/\?\$ \{.*?\n        \}", text, re.DOTALL)
    assert "proxy_read_timeout 90s;" in brands


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE"])
def test_lists_of_brands_come_from_the_web_app(edge: "Edge", method: str) -> None:
    answer = requests.request(method, f"{edge.url}/brands?max=4", timeout=LIMIT_S)
    assert answer.status_code == 200
    assert (edge.web.last["method"], edge.web.last["path"]) == (method, "/brands?max=4")
    assert edge.tasks.requests == []


def test_a_reader_may_pause_for_longer_than_the_tasks_service_may(
    start_edge: "StartEdge",
) -> None:
    edge = start_edge(replaced={"proxy_read_timeout 8s": f"proxy_read_timeout {READ_LIMIT_S}s"})
    edge.web.sha256 = edge.tasks.sha256 = SHA256

    def large(call: "_Handler") -> None:
        call.send(200, {"ETag": f'"{SHA256}"'}, bytes(32 * 1024 * 1024))

    edge.tasks.answer = large
    with requests.get(edge.url + CLIP, stream=True, timeout=LIMIT_S) as answer:
        time.sleep(2 * READ_LIMIT_S)
        assert len(answer.content) == 32 * 1024 * 1024
