"""The stacks under Compose v2, as users of a new Docker run them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import one_machine_variables
from harness.engine import Engine, without_daemon
from harness.machines import Secrets
from harness.ports import free_ports
from harness.stack import CHECKOUT, Stack

from idrl_testing.api_client import RetryingApiClient, is_ready
from idrl_testing.waiting import wait_until

(PORT,) = free_ports(1)
URL = f"http://127.0.0.1:{PORT}"
PROJECTS = (".", "psg", "worker-server", "web-server", "file-server")
COMPARED = ("image", "environment", "command", "user", "read_only", "cap_drop", "stop_signal")


@pytest.fixture(scope="module")
def under_v2(
    engine: Engine,
    images: None,  # noqa: ARG001 # built before the stack starts
    compose_v2: tuple[str, ...],
    folder: Path,
    secrets: Secrets,
) -> Iterator[Stack]:
    """Everything on one machine, started by Compose v2."""
    stack = Stack(engine, "idrlv2", CHECKOUT, folder / "v2.env", compose_v2)
    stack.write_env({**secrets, **one_machine_variables(engine, PORT)})
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.mark.parametrize("name", PROJECTS)
def test_compose_1_and_2_read_the_file_alike(
    compose_v2: tuple[str, ...], secrets: Secrets, tmp_path: Path, name: str
) -> None:
    engine = without_daemon()
    first, second = (
        _services(Stack(engine, "idrlconfig", CHECKOUT / name, tmp_path / "env", program), secrets)
        for program in (("docker-compose",), compose_v2)
    )
    assert first
    assert first.keys() == second.keys()
    for key in COMPARED:
        assert {service: first[service].get(key) or {} for service in first} == {
            service: second[service].get(key) or {} for service in second
        }


def _services(stack: Stack, secrets: Secrets) -> dict[str, dict[str, object]]:
    stack.write_env({**secrets, "EXPORT_TO": "192.0.2.0/24"})
    services: dict[str, dict[str, object]] = yaml.safe_load(stack.compose("config"))["services"]
    return services


def test_compose_is_version_2(under_v2: Stack) -> None:
    assert under_v2.compose("version", "--short").strip().lstrip("v") >= "2."


def test_makes_a_clip(under_v2: Stack, videos: str) -> None:
    wait_until(lambda: is_ready(URL))
    assert under_v2.services() == {
        *("postgres", "redis", "tasks", "worker-fetch", "worker-render", "beat", "web", "nginx"),
    }
    person = RetryingApiClient.signed_up(URL)
    task_id = person.submit(f"{videos}/short.mp4")["task_id"]
    assert person.finish(task_id)["status"] == "done"
    clip = person.call("GET", f"/tasks/{task_id}/parts/0")
    assert (clip.status_code, clip.content[4:8]) == (200, b"ftyp")


def test_stops_and_starts_again(under_v2: Stack) -> None:
    """Every process ends by itself on TERM; what was made is there afterwards."""
    under_v2.up()
    wait_until(lambda: is_ready(URL))
    services = under_v2.services()
    person = RetryingApiClient.signed_up(URL)
    under_v2.compose("stop", "--timeout", "300")
    assert under_v2.services() == set()
    killed = {service for service in services if under_v2.exit_code(service) == 137}
    assert not killed
    under_v2.up()
    wait_until(lambda: is_ready(URL))
    assert person.call("GET", "/tasks").status_code == 200
