"""Each machine alone and among the others: what runs, listens, is reached, and is known."""

import json
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import expected
import pytest
import requests
from staging.machine import Vm
from staging.system import System

NAMES = [machine.name for machine in expected.MACHINES]
WITH_CONTAINERS = [machine.name for machine in expected.MACHINES if machine.containers]
PROBE = Path(__file__).parent / "staging" / "probe.py"
# Prints the status of Secret Manager's answer to each secret, for the account of the machine that
# this runs on.
ASK_FOR_SECRETS = """
import json, sys
from urllib import error, request

def get(path, **headers):
    url = "http://metadata.google.internal/" + path
    return request.urlopen(request.Request(url, headers=headers), timeout=30)

def status(secret):
    try:
        path = f"v1/projects/staging/secrets/{secret}/versions/latest:access"
        return get(path, Authorization=f"Bearer {token}").status
    except error.HTTPError as refused:
        return refused.code

account = "computeMetadata/v1/instance/service-accounts/default/token"
token = json.load(get(account, **{"Metadata-Flavor": "Google"}))["access_token"]
print(json.dumps({secret: status(secret) for secret in sys.argv[1:]}))
"""
# Prints in which files each secret is found, with the file's mode and owner.
FIND_SECRETS = """
import json, os, pathlib, sys

secrets = json.loads(sys.argv[1])
files_of = {secret: {} for secret in secrets}
for top in ("/etc", "/opt", "/root", "/home", "/var/log", "/var/tmp"):
    for folder, _, names in os.walk(top):
        for path in (pathlib.Path(folder, name) for name in names):
            # The swap file is larger than the memory that would hold it.
            if path.is_file() and not path.is_symlink() and path.name != "swap":
                content, facts = path.read_bytes(), path.stat()
                for secret, line in secrets.items():
                    if line.encode() in content:
                        files_of[secret][str(path)] = f"{facts.st_mode & 0o7777:04o} {facts.st_uid}"
print(json.dumps(files_of))
"""
# What a re-run may not touch: files, containers and when the services were started.
# certbot notes in its renewal files when it may next ask for the renewal window (RFC 9773).
FINGERPRINT = """
find /etc /opt/idrl -type f ! -name '*.log' ! -name swap ! -path '*/renewal/*.conf' -print0 |
    sort -z | xargs -0 sha256sum
cat /etc/idrl/letsencrypt/renewal/*.conf 2>/dev/null |
    grep -vE '^$|acme_renewal_info|ari_retry_after' | sha256sum
find /etc /opt/idrl -print0 | sort -z | xargs -0 stat -c '%n %a %U'
docker ps --no-trunc --filter label=com.docker.compose.service \\
    --format '{{.ID}} {{.Names}}' 2>/dev/null
systemctl show idrl docker nfs-server usr-remote_folder.mount --property=Id,ActiveEnterTimestamp
"""


def containers(vm: Vm) -> dict[str, str]:
    """Return the ids of the containers that run, by the name of their service."""
    listed = vm.ssh(
        "docker ps --filter label=com.docker.compose.service"
        " --format '{{.Label \"com.docker.compose.service\"}} {{.ID}}'"
    )
    return dict(line.split() for line in listed.splitlines())


def probe(system: System, origin: str) -> dict[str, dict[str, str]]:
    """Return what a machine, or the world, finds at the others' ports: open, refused, silence."""
    targets = {vm.name: vm.machine.address for vm in system.vms.values() if vm.name != origin}
    request = json.dumps([{**targets, "database": expected.DATABASE}, expected.TRIED_PORTS])
    if origin == "world":
        command = system.network.on_an_outside_host([sys.executable, str(PROBE), request])
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    else:
        printed = system.vms[origin].python(PROBE.read_text(), request)
    locations: dict[str, dict[str, str]] = json.loads(printed)
    return locations


def role_of(name: str) -> str:
    return {machine.name: machine.role for machine in (*expected.MACHINES, expected.WORKER_2)}.get(
        name, name
    )


def assert_only_allowed(system: System, origin: str) -> None:
    """Check every port of every other machine: those of the table answer, all others are silent."""
    reachable = probe(system, origin)
    for target, ports in reachable.items():
        allowed = expected.LINKS.get((role_of(origin), role_of(target)), ())
        reached = {int(port) for port, state in ports.items() if state == "open"}
        heard = {int(port) for port, state in ports.items() if state != "silence"}
        assert reached == set(allowed) & expected.LISTENING[target], (origin, target, ports)
        assert heard <= set(allowed), (origin, target, ports)


@pytest.mark.parametrize("name", NAMES)
def test_services_run(system: System, name: str) -> None:
    vm = system.vms[name]
    states = vm.ssh(f"systemctl is-active {' '.join(sorted(vm.machine.units))} || true").split()
    assert dict(zip(sorted(vm.machine.units), states, strict=True)) == dict.fromkeys(
        vm.machine.units, "active"
    )
    assert vm.ssh("systemctl --failed --no-legend").strip() == ""


@pytest.mark.parametrize("name", WITH_CONTAINERS)
def test_containers_run_unprivileged(system: System, name: str) -> None:
    vm = system.vms[name]
    running = containers(vm)
    assert set(running) == vm.machine.containers
    users = vm.ssh(
        "; ".join(f"docker exec {container} id -u" for container in running.values())
    ).split()
    assert len(users) == len(running)
    assert "0" not in users


@pytest.mark.parametrize("name", NAMES)
def test_listens_at_nothing_else(system: System, name: str) -> None:
    """Also without the firewall there is only what the machine is for, and the operator's ssh."""
    vm = system.vms[name]
    listed = vm.ssh("ss --no-header --listening --numeric --tcp | awk '{ print $4 }'").split()
    ports = {
        int(address.rpartition(":")[2])
        for address in listed
        if not address.startswith(("127.", "[::1]"))
    }
    assert ports == expected.LISTENING[name] | {22}


@pytest.mark.parametrize("origin", ["world", *NAMES])
def test_reaches_only_what_it_may(system: System, origin: str) -> None:
    assert_only_allowed(system, origin)


def test_redis_asks_for_a_password(system: System) -> None:
    """From where it can be reached at all."""
    script = f"""
import socket
connection = socket.create_connection(("{expected.WORKER_1.address}", 6379), timeout=10)
connection.sendall(b"PING\\r\\n")
print(connection.recv(99).decode())
"""
    assert system.worker.python(script).startswith("-NOAUTH")


def test_database_refuses_plain_text(system: System) -> None:
    """Its stand-in is as strict as Cloud SQL: the containers speak TLS, and check who answers."""
    assert requests.get(f"{system.url}/ready", timeout=30).ok
    assert system.failing_checks() == expected.FAILING_CHECKS
    used = system.database.rows(
        "SELECT usename, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        " WHERE usename IN ('web', 'worker')"
    )
    assert {name for name, _ in used} == {"web", "worker"}
    assert all(is_encrypted for _, is_encrypted in used)
    for vm, folder in ((system.web, "web-server"), (system.worker, "worker-server")):
        assert (
            "POSTGRES_SSLMODE=verify-ca"
            in vm.ssh(f"cat /opt/idrl/current/{folder}/.env").splitlines()
        )


def test_share_is_exported_to_the_workers_only(system: System) -> None:
    listed = system.file.ssh("exportfs -s").strip()
    (line,) = listed.splitlines()
    folder, _, rest = line.partition(" ")
    subnet, _, options = rest.strip().rstrip(")").partition("(")
    assert (folder, subnet) == ("/var/nfs/shared_folder", expected.WORKER_SUBNET)
    assert set(options.split(",")) >= expected.EXPORT_OPTIONS
    assert system.file.ssh("cat /proc/fs/nfsd/versions").split()[:2] == ["-3", "+4"]
    assert (
        system.file.ssh("findmnt -no SOURCE /var/nfs/shared_folder").strip()
        == expected.FILE.attributes["idrl-data-disk"]
    )


def test_share_is_mounted_hard(system: System) -> None:
    kind, options = system.worker.ssh(
        "findmnt -t nfs4 -no FSTYPE,OPTIONS /usr/remote_folder"
    ).split()
    assert kind == "nfs4"
    assert set(options.split(",")) >= expected.MOUNT_OPTIONS


def test_share_squashes_root_of_a_worker(system: System) -> None:
    made = "/usr/remote_folder/made-by-root"
    system.worker.ssh(f"touch {made}")
    assert (
        system.file.ssh("stat -c %u:%g /var/nfs/shared_folder/made-by-root").strip()
        == "10001:10001"
    )
    system.worker.ssh(f"rm {made}")


@pytest.mark.parametrize("name", NAMES)
def test_clock_is_right(system: System, name: str) -> None:
    vm = system.vms[name]
    vm.ssh("chronyc waitsync 60 0.5 0 1", timeout_s=90)
    before = time.time()
    there = float(vm.ssh("date +%s.%N"))
    assert before - expected.CLOCK_DIFFERENCE_S < there < time.time() + expected.CLOCK_DIFFERENCE_S


@pytest.mark.parametrize("name", NAMES)
def test_machine_has_only_its_own_secrets(system: System, name: str) -> None:
    """Nothing else lies on its disk, and what does, only root can read."""
    vm = system.vms[name]
    # One line says enough of a key.
    lines = {
        secret: max(value.splitlines()[1:2] or [value]) for secret, value in system.secrets.items()
    }
    locations: dict[str, dict[str, str]] = json.loads(vm.python(FIND_SECRETS, json.dumps(lines)))
    assert {secret for secret, files in locations.items() if files} == expected.STORED_SECRETS[
        vm.machine.role
    ], locations
    modes = {
        mode
        for secret, files in locations.items()
        if secret != "idrl-postgres-ca"
        for mode in files.values()
    }
    assert modes <= {"0600 0"}, locations


@pytest.mark.parametrize("name", NAMES)
def test_account_reads_only_its_own_secrets(system: System, name: str) -> None:
    vm = system.vms[name]
    answers = json.loads(vm.python(ASK_FOR_SECRETS, *system.secrets))
    allowed = expected.SECRETS[vm.machine.role]
    assert answers == {secret: 200 if secret in allowed else 403 for secret in system.secrets}


@pytest.mark.parametrize("name", WITH_CONTAINERS)
def test_containers_do_not_reach_the_metadata(system: System, name: str) -> None:
    """Its name service at the same address they do: without it they would find nothing."""
    vm = system.vms[name]
    service = "web" if name == "web" else "tasks"
    code = (
        "import socket; socket.getaddrinfo('metadata.google.internal', 80);"
        "socket.create_connection(('metadata.google.internal', 80), timeout=3)"
    )
    container = containers(vm)[service]
    last_line = vm.ssh(f'docker exec {container} python -c "{code}" 2>&1 | tail -n 1')
    assert last_line.startswith("TimeoutError"), last_line


@pytest.mark.parametrize("name", ["worker-1"])
def test_render_workers_reach_nothing_outside(system: System, name: str, videos: str) -> None:
    """The database and Redis they do reach, else no clip would be made."""
    vm = system.vms[name]
    site = urlsplit(videos)
    code = f"import socket; socket.create_connection(({site.hostname!r}, {site.port}), timeout=5)"
    answers = {
        service: vm.ssh(
            f"docker exec {containers(vm)[service]} python -c {shlex.quote(code)} 2>&1 | tail -n 1"
        )
        for service in ("worker-render", "worker-fetch")
    }
    assert answers["worker-render"].startswith("ConnectionRefusedError"), answers
    assert answers["worker-fetch"] == "", answers


def test_running_it_again_changes_nothing(system: System) -> None:
    before = {name: vm.ssh(FINGERPRINT) for name, vm in system.vms.items()}
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(vm.ssh, "startup-script --wait", 600) for vm in system.vms.values()]
        for run in runs:
            run.result()
    after = {name: vm.ssh(FINGERPRINT) for name, vm in system.vms.items()}
    changed = {
        name: set(after[name].splitlines()) ^ set(before[name].splitlines()) for name in before
    }
    assert changed == {name: set() for name in before}


def test_provisioning_was_tried_again(system: System) -> None:
    """The machines found no release and a locked apt, as at many first boots, and went on."""
    logs = {name: vm.startup_log() for name, vm in system.vms.items()}
    assert all("release_unknown" in log for log in logs.values()), logs
    for name in ("worker-1", "file"):
        assert "apt-get update does not work yet" in logs[name], logs[name]


def test_segments_fit_the_network(system: System) -> None:
    """Docker's own networks have 1500; what is larger than the machine's is lost on the way."""
    assert system.worker.ssh("cat /sys/class/net/vec0/mtu").strip() == str(expected.MTU)
    rules = system.worker.ssh("iptables --table mangle --list-rules FORWARD")
    assert "--clamp-mss-to-pmtu" in rules
