"""Everything on one machine, by the compose file in the checkout's root."""

import re

import requests
from conftest import RunEndToEnd
from harness.black_box import BETWEEN_SERVICES
from harness.ports import ONE_MACHINE_PORT
from harness.stack import Stack

from idrl_testing.api_client import RetryingApiClient, is_ready
from idrl_testing.waiting import wait_until

URL = f"http://127.0.0.1:{ONE_MACHINE_PORT}"
KEPT = "/var/tmp/clips"  # noqa: S108 # in nginx's container


def test_end_to_end(one_machine: Stack, end_to_end: RunEndToEnd) -> None:
    wait_until(lambda: is_ready(URL))
    assert one_machine.services() == {
        *("postgres", "redis", "tasks", "worker-fetch", "worker-render", "beat", "web", "nginx"),
    }
    end_to_end(URL, *BETWEEN_SERVICES)


def test_tasks_service_replaced(one_machine: Stack, videos: str) -> None:
    """nginx fetches clips from the tasks service, also after a change of its address."""
    wait_until(lambda: is_ready(URL))
    person = RetryingApiClient.signed_up(URL)
    task_id = person.submit(f"{videos}/short.mp4")["task_id"]
    assert person.finish(task_id)["status"] == "done"
    # nginx has it in its cache, which must not help while the caller cannot be authorized.
    clips = [person.call("GET", f"/tasks/{task_id}/parts/0").content for _ in range(3)]
    assert clips[0] == clips[1] == clips[2]
    wait_until(lambda: one_machine.execute("nginx", "find", KEPT, "-type", "f").count("\n") >= 1)
    one_machine.compose("rm", "--stop", "--force", "tasks")
    wait_until(lambda: person.call("GET", f"/tasks/{task_id}/parts/0").status_code == 502)
    assert person.call("GET", f"/tasks/{task_id}/parts/0").json()["code"] == "tasks_unavailable"
    one_machine.up()
    wait_until(lambda: person.call("GET", f"/tasks/{task_id}/parts/0").status_code == 200)
    clip = person.call("GET", f"/tasks/{task_id}/parts/0", headers={"Range": "bytes=0-11"})
    assert (clip.status_code, clip.content[4:8]) == (206, b"ftyp")


def test_documentation_comes_from_here(one_machine: Stack) -> None:
    wait_until(lambda: is_ready(URL))
    assert one_machine.services() >= {"nginx", "web"}
    page = requests.get(f"{URL}/docs", timeout=60)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert [requests.get(URL + part, timeout=60).status_code for part in parts] == [200] * len(
        parts
    )
    assert any(part.endswith("swagger-ui-bundle.js") for part in parts)


def test_render_workers_are_in_an_internal_network_alone(one_machine: Stack) -> None:
    """Docker's own rules of iptables keep such a network apart; this engine runs without any."""

    def networks(service: str) -> set[str]:
        return set(one_machine.inspect(service)["NetworkSettings"]["Networks"])

    (internal,) = networks("worker-render")
    shown = one_machine.engine.docker("network", "inspect", internal, "--format", "{{.Internal}}")
    assert shown.strip() == "true"
    inside = {service for service in one_machine.services() if internal in networks(service)}
    assert inside == {"worker-render", "postgres", "redis"}


def test_nothing_but_nginx_is_published(one_machine: Stack) -> None:
    ports = {
        service: one_machine.inspect(service)["HostConfig"]["PortBindings"]
        for service in one_machine.services()
    }
    assert {service for service, bound in ports.items() if bound} == {"nginx"}
