"""Each machine on its own: the stacks as three machines run them, with only the share in common.

The tests follow each other: the share is mounted only after the first one has seen the system
without it, and the last one turns on TLS between the machines.
"""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import requests
from conftest import RunEndToEnd
from harness.images import WEB
from harness.machines import (
    POSTGRES_PORT,
    REDIS_PORT,
    REDIS_TLS_PORT,
    SECOND_TASKS_PORT,
    SLOW,
    TASKS_NAME,
    TASKS_PORT,
    TASKS_TLS_PORT,
    Machines,
)
from harness.stack import Stack

from idrl_local.config import RATE_LIMITS_OFF
from idrl_testing import tls
from idrl_testing.api_client import PASSWORD, RetryingApiClient, is_ready
from idrl_testing.waiting import wait_until

SERVICES = [
    ("psg", "postgres"),
    ("worker", "redis"),
    ("worker", "tasks"),
    ("worker", "worker-fetch"),
    ("worker", "worker-render"),
    ("worker", "beat"),
    ("web", "web"),
    ("web", "nginx"),
]


@pytest.fixture
def mounted(machines: Machines) -> Machines:
    """The machines with the share in its place."""
    machines.share.mount()
    return machines


@pytest.fixture(scope="module")
def slow(machines: Machines) -> Machines:
    """The machines with a share, rendering many small parts slowly."""
    machines.share.mount()
    machines.worker.write_env({**machines.worker_variables(), **SLOW})
    machines.worker.up()
    machines.web.write_env({**machines.web_variables(), **RATE_LIMITS_OFF})
    machines.web.up()
    wait_until(lambda: is_ready(machines.url))
    return machines


def stack_of(machines: Machines, name: str) -> Stack:
    return {"psg": machines.psg, "worker": machines.worker, "web": machines.web}[name]


def problem(answer: requests.Response, status: int, code: str) -> requests.Response:
    """Check that the answer is this problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    return answer


def test_no_work_without_the_share(
    machines: Machines, person: RetryingApiClient, videos: str
) -> None:
    """A share that is not mounted is left alone; a later mount is found without restart."""
    task_id = person.submit(f"{videos}/short.mp4")["task_id"]
    address = f"http://{machines.engine.gateway()}:{TASKS_PORT}/ready"
    unavailable = {"ok": False, "detail": "ShareAway"}
    wait_until(lambda: requests.get(address, timeout=60).json()["checks"]["share"] == unavailable)
    assert requests.get(address, timeout=60).json()["status"] == "degraded"
    wait_until(
        lambda: "the share is not mounted" in machines.worker.compose("logs", "worker-fetch")
    )
    assert person.task(task_id)["status"] == "queued"
    assert list(machines.share.mount_point.iterdir()) == []
    machines.share.mount()
    assert person.finish(task_id)["status"] == "done"
    assert machines.share.clips(task_id) == ["0.1.mp4"]


@pytest.mark.parametrize(("machine", "service"), SERVICES)
def test_container_is_locked_down(machines: Machines, machine: str, service: str) -> None:
    stack = stack_of(machines, machine)
    container = stack.inspect(service)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Init"] is True
    assert 0 < host["Memory"] <= 2000 * 1024**2
    assert 0 < host["PidsLimit"] <= 512
    assert host["Ulimits"] == [{"Name": "nofile", "Hard": 8192, "Soft": 8192}]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert "/tmp" in host["Tmpfs"]  # noqa: S108 # of the container
    assert container["Config"]["Healthcheck"]["Test"]
    assert stack.execute(service, "id", "-u").strip() != "0"


def test_only_published_ports_reach_across(machines: Machines) -> None:
    networks = machines.worker.inspect("redis")["NetworkSettings"]["Networks"]
    addresses = [network["IPAddress"] for network in networks.values()]
    assert len(addresses) == 2  # the workers' and the render workers' networks
    script = (
        "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"
    )
    machines.web.execute("web", "python", "-c", script, machines.engine.gateway(), str(TASKS_PORT))
    for address in addresses:
        tried = ("exec", machines.web.container("web"), "python", "-c", script, address, "6379")
        assert not machines.engine.succeeds(*tried)


def test_health_shows_the_commit(machines: Machines) -> None:
    commit = machines.engine.docker("run", "--rm", "--entrypoint=cat", WEB, "/app/revision").strip()
    for url in (machines.url, f"http://{machines.engine.gateway()}:{TASKS_PORT}"):
        assert requests.get(f"{url}/health", timeout=60).json()["revision"] == commit


def test_body_too_large(person: RetryingApiClient) -> None:
    problem(person.call("POST", "/tasks", data=b"x" * 3 * 1024**2), 413, "body_too_large")


def test_quick_log_ins_are_slowed_down(machines: Machines) -> None:
    form = {"email": "nobody@example.org", "password": PASSWORD}
    answers: list[requests.Response] = []

    def log_in(_: int) -> requests.Response:
        return requests.post(f"{machines.url}/auth/login", json=form, timeout=60)

    def is_slowed_down() -> bool:
        """Log in at once; a busy machine may send too few of them in a second."""
        with ThreadPoolExecutor(100) as pool:
            answers.extend(pool.map(log_in, range(100)))
        return any(answer.status_code == 429 for answer in answers)

    wait_until(is_slowed_down)
    assert {answer.status_code for answer in answers} == {401, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(problem(refused, 429, "too_many_requests").headers["Retry-After"]) >= 1


def test_end_to_end(mounted: Machines, end_to_end: RunEndToEnd) -> None:
    mounted.web.write_env({**mounted.web_variables(), **RATE_LIMITS_OFF})
    mounted.web.up()
    wait_until(lambda: is_ready(mounted.url))
    end_to_end(mounted.url)


def test_delete_with_two_slashes(mounted: Machines, person: RetryingApiClient, videos: str) -> None:
    task_id = person.submit(f"{videos}/short.mp4")["task_id"]
    person.finish(task_id)
    answer = person.call("DELETE", f"/tasks//{task_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "deleted")
    # The sweeper removes the files.
    wait_until(lambda: mounted.share.clips(task_id) == [])


def test_tasks_service_unavailable(machines: Machines, person: RetryingApiClient) -> None:
    """The gateway says so, and finds the service again by itself."""
    machines.worker.compose("stop", "tasks")
    problem(person.call("GET", "/tasks"), 502, "tasks_unavailable")
    machines.worker.compose("start", "tasks")
    wait_until(lambda: person.call("GET", "/tasks").status_code == 200)


def test_web_app_replaced(machines: Machines, person: RetryingApiClient) -> None:
    """nginx answers alone, and finds the app again at another address."""
    nginx = machines.web.container("nginx")
    machines.web.compose("rm", "--stop", "--force", "web")
    wait_until(lambda: person.call("GET", "/tasks").status_code == 503)
    problem(person.call("GET", "/tasks"), 503, "web_unavailable")
    # Takes the address that has become free.
    machines.engine.docker(
        "run", "--detach", "--rm", "--name=idrlplace", "--network=idrlweb_default", WEB
    )
    try:
        machines.web.up()
        wait_until(lambda: person.call("GET", "/tasks").status_code == 200)
    finally:
        machines.engine.docker("rm", "--force", "idrlplace")
    assert machines.web.container("nginx") == nginx


@pytest.mark.parametrize(("machine", "service"), SERVICES)
def test_restart_while_a_task_renders(
    slow: Machines, person: RetryingApiClient, videos: str, machine: str, service: str
) -> None:
    """The task still ends as done, with each part once and no finished part made again."""
    task_id = person.submit(f"{videos}/long.mp4")["task_id"]
    before = person.wait_for(task_id, lambda task: task["parts_done"] >= 1)
    stack_of(slow, machine).compose("restart", "--timeout", "40", service)
    task = person.finish(task_id)
    assert before["status"] == "processing"
    assert_each_part_once(slow, before, task)


def test_down_and_up_while_a_task_renders(
    slow: Machines, person: RetryingApiClient, videos: str
) -> None:
    """The task goes on from its finished parts."""
    task_id = person.submit(f"{videos}/long.mp4")["task_id"]
    before = person.wait_for(task_id, lambda task: task["parts_done"] >= 2)
    for stack in (slow.web, slow.worker, slow.psg):
        stack.compose("down")
    for stack in (slow.psg, slow.worker, slow.web):
        stack.up()
    wait_until(lambda: is_ready(slow.url))
    task = person.finish(task_id)
    assert before["status"] == "processing"
    assert_each_part_once(slow, before, task)


def test_second_worker_machine(slow: Machines, person: RetryingApiClient, videos: str) -> None:
    """FIRST_WORKER=0: no Redis and no beat of its own, and it takes work."""
    redis = f"redis://:{slow.secrets['REDIS_PASSWORD']}@{slow.engine.gateway()}:{REDIS_PORT}/0"
    others = {"FIRST_WORKER": "0", "REDIS_URL": redis, "TASKS_PORT": str(SECOND_TASKS_PORT)}
    second = slow.stack("second", "worker-server", {**slow.worker_variables(), **others})
    try:
        second.up()
        wait_until(lambda: second.services() == {"tasks", "worker-fetch", "worker-render"})
        slow.worker.compose("stop", "worker-fetch", "worker-render")
        task_id = person.submit(f"{videos}/long.mp4")["task_id"]
        assert person.finish(task_id)["status"] == "done"
    finally:
        second.down()
        slow.worker.up()


def test_schema_of_a_database_elsewhere(machines: Machines) -> None:
    """With nothing but other variables the schema of a managed database is brought up to date."""
    host = {
        "POSTGRES_HOST": machines.engine.gateway(),
        "POSTGRES_PORT": str(POSTGRES_PORT),
        "LOCAL_POSTGRES": "0",
    }
    elsewhere = machines.stack("cloud", "psg", {**machines.psg_variables(), **host})
    try:
        elsewhere.up()
        wait_until(lambda: not elsewhere.services())
        assert elsewhere.inspect("migrate")["State"]["ExitCode"] == 0
        assert elsewhere.container("postgres") == ""
    finally:
        elsewhere.down()


def test_secrets_stay_out_of_the_logs(machines: Machines) -> None:
    logs = "".join(stack.compose("logs") for stack in machines.all)
    assert '"message"' in logs
    secrets = {
        name: value
        for name, value in machines.secrets.items()
        if "PASSWORD" in name or "PRIVATE" in name
    }
    assert not [name for name, value in secrets.items() if value in logs]
    assert PASSWORD not in logs


def assert_each_part_once(
    machines: Machines, before: dict[str, object], after: dict[str, object]
) -> None:
    """Check that the task is done, with one clip a part, and those done before still the same."""
    assert after["status"] == "done", after
    parts: list[dict[str, object]] = after["parts"]  # type: ignore[assignment] # a list, says the contract
    earlier: list[dict[str, object]] = before["parts"]  # type: ignore[assignment] # JSON
    done = [part for part in earlier if part["status"] == "done"]
    assert done
    kept = ("attempt", "sha256", "size_bytes")
    for part in done:
        same = next(listed for listed in parts if listed["number"] == part["number"])
        assert [same[key] for key in kept] == [part[key] for key in kept]
    expected = sorted(f"{part['number']}.{part['attempt']}.mp4" for part in parts)
    # What an attempt has left that was lost is removed a little later.
    wait_until(lambda: machines.share.clips(str(after["task_id"])) == expected)
    assert len(parts) == after["parts_total"] == 6


def test_no_partial_file_is_left_on_the_share(machines: Machines) -> None:
    """Whatever was interrupted."""
    wait_until(lambda: list(machines.share.exported.rglob(".*.tmp")) == [])


def test_tls_between_machines(slow: Machines, person: RetryingApiClient, videos: str) -> None:
    """The web machine and a second worker machine reach the first one by TLS, and by TLS only."""
    place = slow.folder / "tls"
    place.mkdir()
    chain, key = tls.write_certificate(place, TASKS_NAME, slow.engine.gateway())
    worker = {**slow.worker_variables(), **SLOW}
    slow.worker.write_env({**worker, **slow.worker_tls_variables(chain, key)})
    slow.web.write_env({**slow.web_variables(), **RATE_LIMITS_OFF, **slow.web_tls_variables(chain)})
    others = slow.second_worker_tls_variables(chain)
    second = slow.stack("second", "worker-server", {**worker, **others})
    slow.worker.up()
    # Names of the engine's DNS are those of its networks.
    network, front = "idrlweb_default", slow.worker.container("tls")
    slow.engine.docker("network", "connect", f"--alias={TASKS_NAME}", network, front)
    try:
        slow.web.up()
        second.up()
        slow.worker.compose("stop", "worker-fetch", "worker-render")
        wait_until(lambda: is_ready(slow.url))
        task_id = person.submit(f"{videos}/short.mp4")["task_id"]
        assert person.finish(task_id)["status"] == "done"
        assert slow.share.clips(task_id) == ["0.1.mp4"]
        assert_tls_only(slow, chain)
    finally:
        slow.engine.docker("network", "disconnect", network, front)
        second.down()


def assert_tls_only(machines: Machines, chain: Path) -> None:
    """Check what the first worker machine answers to others."""
    host = machines.engine.gateway()
    for port in (TASKS_PORT, REDIS_PORT):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), timeout=60)
    address = f"{host}:{TASKS_TLS_PORT}/health"
    assert requests.get(f"https://{address}", verify=str(chain), timeout=60).ok
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        requests.get(f"https://{address}", timeout=60)  # without the authority
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{address}", timeout=60)
    password = machines.secrets["REDIS_PASSWORD"]
    trusting = redis.Redis(
        host,
        REDIS_TLS_PORT,
        password=password,
        ssl=True,
        ssl_ca_certs=str(chain),
        socket_timeout=60,
    )
    assert trusting.ping()
    with pytest.raises(redis.ConnectionError):
        redis.Redis(host, REDIS_TLS_PORT, password=password, socket_timeout=60).ping()
