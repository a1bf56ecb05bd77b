"""What a first boot meets: a locked apt, no release yet, little memory, a kernel with AppArmor."""

import hashlib
from pathlib import Path

import pytest

from deploy.provision.tests.fake_machine import PROVISION, SETTINGS, Cloud, Machine

# Refuses as apt does while the system's own updates run, once for each file.
LOCKED_APT = """
echo "$*" >>"$CALLS"
for word in "$@"; do
    [ "$word" != update ] || [ -z "$(ls "$LOCKS")" ] || {
        rm "$LOCKS/$(ls "$LOCKS" | head -n 1)"
        echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 512 (apt-get)"
        exit 100
    }
done
"""
SYSTEMCTL = 'echo "systemctl $*" >>"$CALLS"'


@pytest.fixture
def locks(machine: Machine) -> Path:
    """A folder with a file for each time that apt will be locked."""
    folder = machine.folder / "locks"
    folder.mkdir()
    machine.program("apt-get", LOCKED_APT)
    return folder


def test_a_locked_apt_is_waited_for(machine: Machine, locks: Path) -> None:
    for number in range(3):
        (locks / str(number)).touch()
    done = machine.shell("install_missing no-such-program:some-package", LOCKS=str(locks))
    assert done.code == 0, done.output
    assert machine.calls().splitlines()[-1].endswith("--no-install-recommends some-package")
    assert machine.calls().count(" update") == 4


def test_an_apt_that_stays_locked_is_an_error(machine: Machine, locks: Path) -> None:
    for number in range(500):
        (locks / str(number)).touch()
    done = machine.shell("install_missing no-such:pack", LOCKS=str(locks), IDRL_APT_S="2")
    assert done.code == 1
    assert machine.calls().count(" update") > 1
    assert "packages_missing: these could not be installed: pack" in done.output
    assert "install" not in machine.calls()


@pytest.mark.parametrize(("enabled", "is_requested"), [("Y\n", True), ("N\n", False)])
def test_apparmor_gets_its_parser(
    machine: Machine, locks: Path, enabled: str, *, is_requested: bool
) -> None:
    kernel = machine.folder / "enabled"
    kernel.write_text(enabled)
    for name in ("dockerd", "iptables", "docker", "systemctl"):
        machine.program(name, "true")
    paths = {"LOCKS": str(locks), "IDRL_APPARMOR": str(kernel)}
    done = machine.shell("PATH=${PATH%%:*}:/usr/bin:/bin; install_docker", **paths)
    assert done.code == 0, done.output
    assert ("apparmor" in machine.calls()) is is_requested


@pytest.mark.parametrize(
    ("memory_kib", "swap_kib", "made"),
    [(2030000, 0, True), (4020000, 0, True), (8100000, 0, False), (2030000, 2097148, False)],
)
def test_a_small_machine_gets_swap(
    machine: Machine, memory_kib: int, swap_kib: int, *, made: bool
) -> None:
    meminfo = machine.folder / "meminfo"
    meminfo.write_text(f"MemTotal: {memory_kib} kB\nSwapTotal: {swap_kib} kB\n")
    machine.program("systemctl", SYSTEMCTL)
    # A file of 2 GiB takes no room here, and a header will do.
    machine.program("fallocate", 'truncate -s "$2" "$3"')
    # As of util-linux 2.37, which Ubuntu 22.04 has: no --quiet.
    mkswap = '[ $# = 1 ] && exec /sbin/mkswap "$1"; echo "usage: mkswap FILE"; exit 1'
    machine.program("mkswap", mkswap)
    machine.opt.mkdir()
    script = "PATH=$PATH:/usr/sbin:/sbin; ensure_swap; ensure_swap"
    done = machine.shell(script, IDRL_MEMINFO=str(meminfo))
    assert done.code == 0, done.output
    swap = machine.opt / "swap"
    assert swap.exists() is made
    if made:
        assert (swap.stat().st_size, swap.stat().st_mode & 0o777) == (2048 * 1024**2, 0o600)
        (unit,) = machine.units.iterdir()
        assert f"What={swap}" in unit.read_text()
        assert f"systemctl --quiet enable --now {unit.name}" in machine.calls()


@pytest.fixture
def named_release(cloud: Cloud, file_release: bytes) -> Cloud:
    """A cloud whose file machine has the address of releases; the current one is not named yet."""
    cloud.attributes = {
        "idrl-worker-subnet": SETTINGS["file"]["idrl-worker-subnet"],
        "idrl-role": "file",
        "idrl-releases-url": f"{cloud.url}/releases",
    }
    cloud.objects["/releases/archive.tar.gz"] = file_release
    return cloud


def name_release(cloud: Cloud, pointer: str, revision: str) -> None:
    digest = hashlib.sha256(cloud.objects["/releases/archive.tar.gz"]).hexdigest()
    text = f"revision={revision}\nsha256={digest}\narchive=archive.tar.gz\n"
    cloud.objects[f"/releases/{pointer}"] = text.encode()


def test_the_bucket_names_the_release(machine: Machine, named_release: Cloud) -> None:
    bootstrap, url = PROVISION / "bootstrap", named_release.url
    first = machine.run(bootstrap, "--check", metadata_url=url)
    assert first.code == 1
    assert "release_unknown: no release is named by" in first.output
    name_release(named_release, "current", "one")
    name_release(named_release, "next", "two")
    assert machine.run(bootstrap, "--check", metadata_url=url).code == 0
    assert [path.name for path in (machine.opt / "releases").iterdir()] == ["one"]
    done = machine.run(bootstrap, "--release=next", "--check", metadata_url=url)
    assert done.code == 0, done.output
    assert {path.name for path in (machine.opt / "releases").iterdir()} == {"one", "two"}


def test_provisioning_is_a_unit_that_tries_again(machine: Machine) -> None:
    machine.program("systemctl", SYSTEMCTL)
    paths = {"IDRL_SYSTEMD": str(machine.folder)}
    done = machine.run(PROVISION / "bootstrap", **paths)
    assert done.code == 0, done.output
    unit = (machine.units / "idrl-provision.service").read_text()
    assert {"Type=oneshot", "Restart=on-failure", "StartLimitIntervalSec=0"} <= set(unit.split())
    assert f"ExecStart={machine.opt}/bootstrap --run --release=current" in unit
    assert (machine.opt / "bootstrap").read_text() == (PROVISION / "bootstrap").read_text()
    assert machine.calls().splitlines() == [
        "systemctl daemon-reload",
        "systemctl start --no-block idrl-provision.service",
    ]
    # A second run, with --wait: it waits for the unit and returns its failure.
    machine.program("systemctl", f'{SYSTEMCTL}\n[ "$1" != start ]')
    machine.program("journalctl", "echo what the log says")
    done = machine.run(PROVISION / "bootstrap", "--wait", "--only-migrate", **paths)
    assert done.code == 1
    assert "what the log says" in done.output
    once = (machine.units / "idrl-provision-once.service").read_text()
    assert "--run --release=current --only-migrate" in once


def test_a_release_is_current_only_when_it_is_used(machine: Machine) -> None:
    """A machine that starts while a release is being prepared starts the one before."""
    source = machine.folder / "source"
    (source / "deploy").mkdir(parents=True)
    for revision in ("one", "two"):
        done = machine.shell(f"copy_release {source} {revision}")
        assert done.code == 0, done.output
        assert (machine.opt / "releases" / revision / "deploy").is_dir()
        assert not (machine.opt / "current").is_symlink() or revision == "two"
        if revision == "one":
            machine.shell("use_release one")
    assert (machine.opt / "current").readlink() == Path("releases/one")
    machine.shell("use_release two")
    links = [(machine.opt / name).readlink().name for name in ("current", "previous")]
    assert links == ["two", "one"]


def test_old_releases_and_images_are_removed(machine: Machine) -> None:
    machine.program("docker", 'echo "docker $*" >>"$CALLS"')
    for revision in ("one", "two", "three"):
        machine.shell(f"copy_release {machine.etc} {revision}; use_release {revision}")
    assert machine.shell("remove_old_releases").code == 0
    assert {path.name for path in (machine.opt / "releases").iterdir()} == {"two", "three"}
    assert "docker image rm idrl-worker:one" in machine.calls()
    assert "docker image prune --force" in machine.calls()


def test_a_missing_agent_stops_nothing(machine: Machine, cloud: Cloud) -> None:
    machine.write_settings({"idrl-ops-agent": "1"})
    machine.opt.mkdir()
    config = machine.folder / "agent" / "config.yaml"
    variables = {"IDRL_AGENT_URL": f"{cloud.url}/agent.sh", "IDRL_AGENT_CONFIG": str(config)}
    done = machine.shell("install_ops_agent", **variables)
    assert done.code == 0
    assert "the Ops Agent is not installed: logs stay on this machine" in done.output
    assert "/var/lib/docker/containers/*/*-json.log" in config.read_text()
    cloud.objects["/agent.sh"] = b'echo "agent $*" >>"$CALLS"\n'
    assert (
        machine.shell("install_ops_agent", **variables).output == "idrl: installing the Ops Agent\n"
    )
    assert "agent --also-install" in machine.calls()


def test_revision_is_that_of_the_running_service(machine: Machine, cloud: Cloud) -> None:
    """Not the one that is unpacked: an upgrade asks what the running service says."""
    machine.write_settings({"idrl-role": "worker"})
    assert machine.run(PROVISION / "revision").code == 1
    (machine.etc / "answers-at").write_text(cloud.url + "\n")
    assert machine.run(PROVISION / "revision").code != 0
    cloud.objects["/health"] = b'{"revision":"abc123","service":"tasks","status":"ok"}'
    done = machine.run(PROVISION / "revision")
    assert (done.code, done.output) == (0, "abc123\n")
