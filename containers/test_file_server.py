"""The file server: the two ways to export the share, and the mount on the worker machines."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.engine import Engine, EngineFailed
from harness.images import NFS_CLIENT, VARIABLES
from harness.machines import MARKER, USER
from harness.stack import CHECKOUT, Stack

from idrl_testing.waiting import wait_until

SCRIPTS = CHECKOUT / "file-server"
UNUSED_SUBNET = "10.255.255.0/24"
REFUSED_SUBNETS = [
    "",
    "*",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0",
    "10.0.0.0/24(rw,no_root_squash) *",
    "10.0.0.0/24\n*",
]


@pytest.fixture(scope="module")
def client(engine: Engine, images: None) -> str:  # noqa: ARG001 # built first
    """The image of a machine that can speak NFS."""
    engine.docker("build", "--tag", NFS_CLIENT, str(CHECKOUT / "containers" / "nfs-client"))
    return NFS_CLIENT


@pytest.fixture(scope="module")
def machine(engine: Engine, client: str) -> Iterator[str]:
    """A Debian machine, without systemd running, on which the scripts lie in /file-server."""
    scripts = f"{SCRIPTS}:/file-server:ro"
    name = engine.docker(
        "run", "--detach", "--rm", "--init", "--volume", scripts, client, "sleep", "infinity"
    ).strip()
    yield name
    engine.docker("rm", "--force", name)


@pytest.fixture(scope="module")
def ganesha(engine: Engine, client: str, folder: Path) -> Iterator[Stack]:  # noqa: ARG001 # is up
    """The file server in a container, not started yet."""
    stack = Stack(engine, "idrlfiles", SCRIPTS, folder / "files.env")
    yield stack
    stack.down()


def run(engine: Engine, machine: str, script: str, **variables: str) -> str:
    """Run a shell script on the machine."""
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    return engine.docker("exec", *options, machine, "sh", "-c", script)


def subnet_of(engine: Engine, network: str) -> str:
    return engine.docker(
        "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", network
    ).strip()


@pytest.mark.parametrize("subnet", REFUSED_SUBNETS)
def test_install_refuses_the_world(engine: Engine, machine: str, subnet: str) -> None:
    with pytest.raises(EngineFailed, match=r"install.sh: EXPORT_TO"):
        run(engine, machine, "/file-server/install.sh", EXPORT_TO=subnet)
    assert run(engine, machine, "ls -d /etc/exports.d /var/nfs 2>/dev/null; true") == ""


@pytest.mark.parametrize("server", ["", "10.1.2.4:/else", "a b", "x\n[Mount]"])
def test_mount_refuses_what_is_no_host(engine: Engine, machine: str, server: str) -> None:
    with pytest.raises(EngineFailed, match=r"mount-share.sh: FILE_SERVER"):
        run(engine, machine, "/file-server/mount-share.sh", FILE_SERVER=server)


def test_install_exports_to_one_subnet(engine: Engine, machine: str) -> None:
    run(engine, machine, "/file-server/install.sh", EXPORT_TO="10.1.2.0/24")
    (line,) = run(engine, machine, "cat /etc/exports.d/idrl.exports").splitlines()
    folder, subnet, options = re.fullmatch(r"(\S+) ([0-9./]+)\((\S+)\)", line).groups()  # type: ignore[union-attr] # it matches
    assert (folder, subnet) == ("/var/nfs/shared_folder", "10.1.2.0/24")
    assert {"rw", "sync", "root_squash", "all_squash", f"anonuid={USER}", f"anongid={USER}"} <= set(
        options.split(",")
    )
    assert "vers3 = n" in run(engine, machine, "cat /etc/nfs.conf.d/idrl.conf")
    owners = run(engine, machine, f"stat -c '%u %g %a' {folder} {folder}/{MARKER}").splitlines()
    assert owners == [f"{USER} {USER} 770", f"{USER} {USER} 640"]
    assert run(engine, machine, "command -v exportfs").strip()


def test_install_twice_changes_nothing(engine: Engine, machine: str) -> None:
    state = "find /etc /var/nfs -newer /tmp/before -type f; cat /etc/exports.d/idrl.exports"
    run(engine, machine, "/file-server/install.sh", EXPORT_TO="10.1.2.0/24")
    run(engine, machine, "touch /tmp/before; sleep 0.05; echo clip > /var/nfs/shared_folder/kept")
    run(engine, machine, "/file-server/install.sh", EXPORT_TO="10.1.2.0/24")
    changed, line = run(engine, machine, state).splitlines()
    assert changed == "/var/nfs/shared_folder/kept"
    assert "10.1.2.0/24" in line
    run(engine, machine, "/file-server/install.sh", EXPORT_TO="10.1.3.0/24")
    assert "10.1.2.0" not in run(engine, machine, "cat /etc/exports.d/*")


def test_mount_units_are_what_systemd_takes(engine: Engine, machine: str) -> None:
    for _ in range(2):
        run(engine, machine, "/file-server/mount-share.sh", FILE_SERVER="10.1.2.4")
    units = "/etc/systemd/system/usr-remote_folder"
    run(engine, machine, f"systemd-analyze verify {units}.automount {units}.mount")
    mount = run(engine, machine, f"cat {units}.mount")
    assert "What=10.1.2.4:/var/nfs/shared_folder\nWhere=/usr/remote_folder\n" in mount
    assert (
        "Options=nfsvers=4.2,proto=tcp,hard,timeo=600,retrans=2,noexec,nosuid,nodev,_netdev\n"
        in mount
    )
    wanted = run(engine, machine, "ls /etc/systemd/system/multi-user.target.wants").split()
    assert wanted.count("usr-remote_folder.automount") == 1


def test_container_serves_its_subnet_only(engine: Engine, ganesha: Stack, folder: Path) -> None:
    """A caller from elsewhere cannot see the share; the subnet writes as the containers' user."""
    shared = folder / "shared"
    shared.mkdir()
    variables = {
        "EXPORT_TO": UNUSED_SUBNET,
        "SHARED_FOLDER": str(shared),
        "NFS_BIND": "127.0.0.1",
        **VARIABLES,
    }
    ganesha.write_env(variables)
    start(ganesha)
    assert not engine.succeeds(*call(ganesha, "nfs-ls 'nfs://nfs/var/nfs/shared_folder?version=4'"))
    ganesha.write_env({**variables, "EXPORT_TO": subnet_of(engine, "idrlfiles_default")})
    start(ganesha)
    listing = "nfs-ls 'nfs://nfs/var/nfs/shared_folder?version=4'"
    wait_until(lambda: engine.succeeds(*call(ganesha, listing)))
    copy = "nfs-cp /etc/hostname 'nfs://nfs/var/nfs/shared_folder/clip?version=4'"
    # NFSv4 grace period: for 30 s after its start, a server only lets earlier clients reclaim what
    # they had open.
    wait_until(lambda: engine.succeeds(*call(ganesha, copy)))
    written = (shared / "clip").stat()
    assert (written.st_uid, written.st_gid) == (USER, USER)
    assert (shared / MARKER).exists()


def start(stack: Stack) -> None:
    stack.up()
    wait_until(lambda: stack.inspect("nfs")["State"]["Health"]["Status"] == "healthy")


def call(stack: Stack, script: str) -> tuple[str, ...]:
    """Return the docker command that runs a script, as root, on a machine beside the server."""
    return ("run", "--rm", f"--network={stack.project}_default", NFS_CLIENT, "sh", "-c", script)
