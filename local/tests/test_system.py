"""The whole system, once: the tests of this file share it and run in order, the crash last."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
import requests

from idrl_local import fingerprints, privileges, sample, supervision, system
from idrl_local.home import Home, HomeUnusable, Ports, PortTaken, free_ports
from idrl_local.programs import DATABASE, PROGRAMS
from idrl_testing.waiting import wait_until
from worker_server.media.process import escape_attempts, guard
from worker_server.media.process.child import ChildFiles, ChildLimits, guarded
from worker_server.media.process.sandbox import NEEDED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """In a folder whose name every kind of quoting trips over."""
    return Home(tmp_path_factory.mktemp("h") / "o'd d%")


@pytest.fixture(scope="module")
def ports() -> Ports:
    return free_ports()


@pytest.fixture(scope="module")
def environment(home: Home, ports: Ports) -> Mapping[str, str]:
    """What a person's shell would hold."""
    own = {"IDRL_HOME": str(home.root), "PORT": str(ports.nginx)}
    return {**os.environ, **own, "RENDER_CONCURRENCY": "1", "FETCH_ALLOW_HOSTS": "127.0.0.1"}


@pytest.fixture(scope="module", autouse=True)
def started(
    home: Home, environment: Mapping[str, str]
) -> Iterator[subprocess.CompletedProcess[str]]:
    """The result of `up`, run in a terminal session that has ended when the tests begin."""
    try:
        yield command("up", environment)
    finally:
        system.down(home)


def command(
    name: str, environment: Mapping[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "idrl_local", name, *options]
    return subprocess.run(
        words,
        env=environment,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
        timeout=300,
    )


def pid_of(home: Home, name: str) -> int:
    return home.lock(name).pid


def processes_of(home: Home) -> list[bytes]:
    """Return the command lines that name the home; children of PostgreSQL and nginx do not."""
    command_lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            command_lines.append(path.read_bytes())
    return [line for line in command_lines if os.fsencode(home.root) in line]


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def is_ready(ports: Ports) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{ports.nginx}/ready", timeout=5).ok
    except requests.RequestException:  # a call to a service that starts waits for it
        return False


def test_no_process_has_root_s_rights(home: Home) -> None:
    """The one capability is there where the home is closed to the user, as pytest's folders are."""
    names = [supervision.SUPERVISORD, *(program.name for program in PROGRAMS)]
    for status in (status_of(pid_of(home, name)) for name in names):
        assert "0" not in status["Uid"].split(), status
        assert int(status["CapEff"], 16) & ~(1 << 2) == 0, status
        if os.getuid() == 0:
            assert status["NoNewPrivs"] == "1", status
            assert int(status["CapBnd"], 16) & ~(1 << 2) == 0, status
            assert not status["Groups"], status
    assert {path.stat().st_uid for path in home.share.rglob("*")} <= {home.run.stat().st_uid}


def test_up_prints_url_and_home(
    started: subprocess.CompletedProcess[str], home: Home, ports: Ports
) -> None:
    assert started.returncode == 0, started.stderr
    assert f"http://127.0.0.1:{ports.nginx}" in started.stdout
    assert str(home.root) in started.stdout
    assert is_ready(ports)


def test_every_process_runs(home: Home) -> None:
    supervision.check_programs(home, [program.name for program in PROGRAMS], since=0.1)


def test_up_is_safe_to_run_twice(home: Home, ports: Ports, environment: Mapping[str, str]) -> None:
    before = {program.name: pid_of(home, program.name) for program in PROGRAMS}
    assert command("up", environment).returncode == 0
    assert {program.name: pid_of(home, program.name) for program in PROGRAMS} == before
    other = free_ports()
    with pytest.raises(HomeUnusable, match=f"is up on port {ports.nginx} already"):
        system.up(home, other, environment)


@pytest.mark.parametrize("unread", ["stdout", "stderr"])
def test_up_continues_where_the_reader_of_its_output_has_ended(
    environment: Mapping[str, str], ports: Ports, unread: str
) -> None:
    """`make up 2>&1 | head` ended the start, which stopped what ran by then, and exited with 0."""
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        [sys.executable, "-m", "idrl_local", "up"],
        env={**environment, "RENDER_CRFF": "30"},  # so that it prints a line before the start
        stdout=writer if unread == "stdout" else subprocess.PIPE,
        stderr=writer if unread == "stderr" else subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writer)
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0
    if unread == "stderr":
        assert f"idrl is up at http://127.0.0.1:{ports.nginx}" in printed
    else:
        assert "RENDER_CRFF is not a setting of idrl" in errors
        assert "BrokenPipe" not in errors


def test_changed_settings_are_refused_by_name(environment: Mapping[str, str]) -> None:
    refused = command("up", {**environment, "RENDER_CRF": "30"})
    assert refused.returncode == 1
    assert "RENDER_CRF=30 (runs with the default)" in refused.stderr


def test_changed_secrets_are_refused_and_change_nothing(
    home: Home, ports: Ports, environment: Mapping[str, str]
) -> None:
    """The migration would set the role's password while the processes have the old one."""
    kept, old = home.secrets_file.read_text(), home.secrets().web_db_password
    home.secrets_file.write_text(kept.replace(old, "new"))
    try:
        refused = command("up", environment)
    finally:
        home.secrets_file.write_text(kept)
    assert refused.returncode == 1
    assert "is up with other secrets than" in refused.stderr
    psycopg2.connect(
        host="127.0.0.1", port=ports.postgres, dbname=DATABASE, user="web", password=old
    ).close()


def test_processes_of_an_older_checkout_are_replaced(
    home: Home, ports: Ports, environment: Mapping[str, str]
) -> None:
    before = {program.name: pid_of(home, program.name) for program in PROGRAMS}
    fingerprints.store(home, replace(fingerprints.stored(home), code="of the commit before"))
    done = command("up", environment)
    assert done.returncode == 0, done.stderr
    assert "code from before the last change of the checkout" in done.stderr
    assert not before.items() & {p.name: pid_of(home, p.name) for p in PROGRAMS}.items()
    assert is_ready(ports)


@pytest.mark.parametrize("user", ["the system's", "the caller's"])
def test_compromised_decoder_reaches_nothing(
    home: Home, ports: Ports, tmp_path: Path, user: str
) -> None:
    """Escape attempts in a render worker's place reach nothing of the running system.

    Both users are the same where no root has started the system.
    """
    identity: list[str] = []
    if user == "the system's" and privileges.is_root():
        identity = privileges.unprivileged([], privileges.user_of({}), may_read_all=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as canary:
        canary.bind(("127.0.0.1", 0))
        canary.setblocking(False)
        targets = targets_in(home, ports, tmp_path) | {"udp": canary.getsockname()}
        files = ChildFiles(read=(tmp_path / "source",), write=(tmp_path / "scratch",))
        succeeded = attempts_as(identity, targets, guard.ALL, files)
        with pytest.raises(BlockingIOError):
            canary.recv(1)
        assert {name for name, done in succeeded.items() if done} == set(NEEDED)
        # Without the sandbox the same attempts succeed: nothing else refuses them.
        unblocked = attempts_as(identity, targets, guard.NONE, files)
        assert canary.recv(1) == b"1"
    allowed = ("read a secret", "list another folder", "connect by TCP", "connect to a socket file")
    assert all(unblocked[name] for name in (*allowed, "read the parent's environment")), unblocked


def targets_in(home: Home, ports: Ports, scratch_root: Path) -> dict[str, object]:
    """Return the secrets, files, ports and processes of a running system to attack."""
    outside = home.share / "another-task"
    outside.mkdir(exist_ok=True)
    (scratch_root / "scratch").mkdir()
    (scratch_root / "source").write_text("source")
    for path in (outside, scratch_root, scratch_root / "scratch", scratch_root / "source"):
        path.chmod(0o777)
    return {
        "parent": pid_of(home, "render"),
        "secret": str(home.secrets_file),
        "outside": str(outside),
        "scratch": str(scratch_root / "scratch"),
        "source": str(scratch_root / "source"),
        "tcp": ["127.0.0.1", ports.redis],
        "unix": str(home.socket),
        "abstract": "\0idrl-nobody-listens",
    }


def attempts_as(
    identity: list[str], targets: dict[str, object], sandbox: str, files: ChildFiles
) -> dict[str, bool]:
    Path(str(targets["outside"]), "removable").touch(0o666)
    words = [sys.executable, "-I", escape_attempts.__file__, json.dumps(targets)]
    done = subprocess.run(
        [*identity, *guarded(words, ChildLimits(), sandbox, files)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    succeeded: dict[str, bool] = json.loads(done.stdout)
    return succeeded


def test_sample_of_the_readme_is_served(ports: Ports) -> None:
    address = f"http://127.0.0.1:{ports.sample}"
    video = requests.get(f"{address}/sample.mp4", timeout=10)
    assert (video.status_code, video.headers["Content-Type"]) == (200, "video/mp4")
    assert video.content[4:8] == b"ftyp"
    assert requests.get(f"{address}/secrets.env", timeout=10).status_code == 404


def test_status_shows_address_readiness_and_work(
    ports: Ports, environment: Mapping[str, str]
) -> None:
    state = command("status", environment)
    assert state.returncode == 0
    ready = "ready     web: yes\nready     tasks: yes"
    assert f"address   http://127.0.0.1:{ports.nginx}\n{ready}\ntasks     none" in state.stdout


def test_second_system_on_the_same_ports_is_refused(tmp_path: Path, ports: Ports) -> None:
    with pytest.raises(PortTaken, match=f"port {ports.nginx}, which nginx would use, is taken"):
        system.up(Home(tmp_path / "second"), ports, os.environ)
    assert not supervision.is_running(Home(tmp_path / "second"))


def test_the_demo_can_use_a_system_that_is_up(
    ports: Ports, environment: Mapping[str, str], tmp_path: Path
) -> None:
    address = f"http://127.0.0.1:{ports.nginx}"
    own = {**environment, "IDRL_HOME": str(tmp_path / "caller")}
    refused = command("demo", own, "--at", address)
    assert refused.returncode == 1
    assert "give it a link" in refused.stderr
    sample.make(tmp_path / "sample.mp4", seconds=2, width=320, height=180)
    with sample.served(tmp_path / "sample.mp4") as url:
        done = command("demo", own, "--at", f"{address}/", "--url", url)
    assert done.returncode == 0, done.stderr
    (part,) = json.loads(done.stdout)["parts"]
    assert Path(part["path"]).stat().st_size == part["bytes"]


def test_secrets_are_on_no_command_line(home: Home) -> None:
    # Not every command line names the home.
    own = [Path(f"/proc/{pid_of(home, program.name)}/cmdline") for program in PROGRAMS]
    lines = b"".join([*processes_of(home), *(path.read_bytes() for path in own)])
    assert b"idrl_local.run_sweeper" in lines
    for secret in vars(home.secrets()).values():
        assert secret.encode() not in lines


def test_killed_programs_are_restarted(home: Home, ports: Ports) -> None:
    # nginx's workers outlive a killed master, and keep its port.
    killed = {name: pid_of(home, name) for name in ("nginx", "tasks", "redis", "sweep")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(pid_of(home, name) != pid for name, pid in killed.items()))
    wait_until(lambda: is_ready(ports))


def test_down_leaves_nothing_even_after_a_crash(
    home: Home, ports: Ports, environment: Mapping[str, str]
) -> None:
    os.kill(pid_of(home, supervision.SUPERVISORD), signal.SIGKILL)
    assert home.lock(supervision.SUPERVISORD).wait_until_free(10)
    assert is_ready(ports)
    assert command("down", environment).returncode == 0
    assert not any(home.lock(program.name).is_locked() for program in PROGRAMS)
    wait_until(lambda: processes_of(home) == [])
    ports.check_free()
    assert (home.data / "postgres" / "PG_VERSION").exists()
    assert command("down", environment).returncode == 0
    state = command("status", environment)
    assert (state.returncode, state.stdout.startswith("down: ")) == (3, True)


def test_refused_setting_is_named_and_no_program_stays(
    home: Home, ports: Ports, environment: Mapping[str, str]
) -> None:
    failed = command("up", {**environment, "RENDER_CRF": "999"})
    assert failed.returncode == 1
    assert "RENDER_CRF" in failed.stderr
    assert not any(home.lock(program.name).is_locked() for program in PROGRAMS)
    ports.check_free()
