"""The whole system: what deploy/gcp makes of a project, made on this host."""

import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import expected
import requests
from expected import DOMAIN, METADATA, Machine
from harness.machines import make_secrets
from harness.stack import CHECKOUT

from idrl_testing.waiting import wait_until
from staging import authority, cloud as cloud_module, database as database_module
from staging.cloud import Cloud
from staging.database import Database
from staging.image import Work, sha256_of
from staging.machine import Vm
from staging.network import Network

_BOOTSTRAP = CHECKOUT / "deploy" / "provision" / "bootstrap"


@dataclass
class System:
    """The machines, and what stands around them."""

    work: Work
    network: Network
    database: Database
    secrets: dict[str, str]
    vms: dict[str, Vm] = field(default_factory=dict)
    # What the metadata server says of each machine; may be changed while it runs.
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def web(self) -> Vm:
        return self.vms["web"]

    @property
    def worker(self) -> Vm:
        return self.vms["worker-1"]

    @property
    def file(self) -> Vm:
        return self.vms["file"]

    @property
    def url(self) -> str:
        # test_vms.sh adds the name to /etc/hosts.
        return f"https://{expected.WEB.name}.{DOMAIN}"

    def boot(self, *machines: Machine) -> None:
        """Boot these machines at once, and return when all of them are set up."""
        for machine in machines:
            self.vms.setdefault(
                machine.name, Vm(machine, self.work, self.network, self._data_disk(machine))
            ).boot()
        for machine in machines:
            self.vms[machine.name].wait_for_startup()
        if expected.WEB in machines:
            wait_until(self._has_certificate, 120)

    def _has_certificate(self) -> bool:
        """Return whether the web machine has a certificate of the authority that clients trust."""
        try:
            return requests.get(f"{self.url}/health", timeout=10).ok
        except requests.ConnectionError:
            return False

    def failing_checks(self) -> set[str]:
        """Return the names of the checks that the first worker's readiness says are not met."""
        address = f"{self.worker.machine.address}:5004"
        document = json.loads(
            self.worker.ssh(f"curl --silent --max-time 30 http://{address}/ready")
        )
        return {name for name, check in document["checks"].items() if not check["ok"]}

    def end(self) -> None:
        for vm in self.vms.values():
            vm.kill()

    def files(self, task_id: str) -> dict[str, str]:
        """Return the clips of a task on the file machine: their sha256 by their name."""
        folder = f"/var/nfs/shared_folder/{task_id}"
        listed = self.file.ssh(f"cd {folder} && sha256sum -- *.mp4")
        return {name: digest for digest, name in (line.split() for line in listed.splitlines())}

    def _data_disk(self, machine: Machine) -> Path | None:
        if "idrl-data-disk" not in machine.attributes:
            return None
        disk = self.work.folder / f"{machine.name}-data.img"
        if not disk.exists():
            with disk.open("wb") as file:
                os.truncate(file.fileno(), expected.DATA_DISK_MIB * 1024**2)
        return disk


@contextlib.contextmanager
def running(work: Work) -> Iterator[System]:
    """Give the system with its network, database and cloud, and no machine yet; end everything."""
    network = Network(work.folder)
    network.create()
    folder = work.folder / "database"
    folder.mkdir()
    database = Database(folder, secrets.token_hex(16))
    with contextlib.ExitStack() as stack:
        stack.enter_context(database_module.running(database))
        system = System(work, network, database, _make_secrets(work, database))
        database.make_owner(system.secrets["idrl-postgres-owner-password"])
        root = stack.enter_context(authority.serving(work.authority))
        # What `requests` trusts, here and in the black-box tests.
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["CURL_CA_BUNDLE"] = str(root)
        stack.enter_context(cloud_module.serving(_make_cloud(system)))
        stack.enter_context(_serving(work, "dnsmasq", _dnsmasq(work)))
        stack.enter_context(_serving(work, "chronyd", _chronyd(work)))
        stack.callback(system.end)
        yield system


def _make_secrets(work: Work, database: Database) -> dict[str, str]:
    made = make_secrets(work.folder / "made.env")
    return {
        "idrl-jwt-private-key": made["JWT_PRIVATE_KEY"].replace("\\n", "\n"),
        "idrl-jwt-public-key": made["JWT_PUBLIC_KEY"].replace("\\n", "\n"),
        "idrl-redis-password": made["REDIS_PASSWORD"],
        "idrl-postgres-owner-password": made["POSTGRES_PASSWORD"],
        "idrl-postgres-web-password": made["WEB_DB_PASSWORD"],
        "idrl-postgres-worker-password": made["WORKER_DB_PASSWORD"],
        "idrl-postgres-ca": database.authority,
    }


def _make_cloud(system: System) -> Cloud:
    machines = (*expected.MACHINES, expected.WORKER_2)
    common = {
        "startup-script": _BOOTSTRAP.read_text(),
        "idrl-releases-url": f"http://{METADATA}/releases",
        "idrl-tasks-host": f"{expected.WORKER_1.name}.{DOMAIN}",
        "idrl-file-host": f"{expected.FILE.name}.{DOMAIN}",
        "idrl-database-host": f"database.{DOMAIN}",
        "idrl-database-user": "idrl_owner",
        "idrl-database-sslmode": "verify-ca",
        "idrl-secrets-url": f"http://{METADATA}",
        "idrl-acme-server": authority.DIRECTORY,
    }
    attributes = {
        machine.name: {**common, "idrl-role": machine.role, **machine.attributes}
        for machine in machines
    }
    by_address = {machine.address: machine for machine in machines}
    lines = [f"revision={system.work.revision}", f"sha256={sha256_of(system.work.release)}"]
    pointer = "\n".join([*lines, "archive=release.tar.gz", ""])
    system.attributes = attributes
    return Cloud(
        by_address,
        attributes,
        system.secrets,
        system.work.release,
        pointer,
        system.work.packages,
    )


def _dnsmasq(work: Work) -> list[str]:
    hosts = work.folder / "hosts"
    hosts.write_text("".join(f"{address} {name}\n" for name, address in expected.HOSTS.items()))
    command = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
    ]
    # Any other name does not exist.
    return [
        *command,
        f"--addn-hosts={hosts}",
        "--address=/#/",
        "--bind-interfaces",
        f"--listen-address={METADATA}",
        "--pid-file=",
    ]


def _chronyd(work: Work) -> list[str]:
    """Return the command of a clock server from the machines' tree; the host's clock stays."""
    run = work.tree / "run"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", run], check=True)
    subprocess.run(["mount", "--bind", "/dev", work.tree / "dev"], check=True)
    settings = [
        "local stratum 8",
        "allow",
        f"bindaddress {METADATA}",
        "cmdport 0",
        "bindcmdaddress /",
        "pidfile /run/chronyd.pid",
    ]
    return ["chroot", str(work.tree), "chronyd", "-x", "-d", "-u", "root", *settings]


@contextlib.contextmanager
def _serving(work: Work, name: str, command: list[str]) -> Iterator[None]:
    with (work.folder / f"{name}.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            assert server.poll() is None, f"{name} ended:\n{Path(log.name).read_text()}"
            server.terminate()
            server.wait(30)
