"""The compose files under Compose v2, as users of a new Docker have it, and under 1.29."""

from pathlib import Path

import pytest
import yaml
from harness.engine import without_daemon
from harness.machines import Secrets
from harness.stack import CHECKOUT, Stack

PROJECTS = (".", "psg", "worker-server", "web-server", "file-server")
COMPARED = ("image", "environment", "command", "user", "read_only", "cap_drop", "stop_signal")


@pytest.mark.parametrize("name", PROJECTS)
def test_both_generations_take_the_file(
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


def test_it_is_the_second_generation(compose_v2: tuple[str, ...]) -> None:
    assert without_daemon().run(*compose_v2, "version", "--short").lstrip("v").startswith("2.")
