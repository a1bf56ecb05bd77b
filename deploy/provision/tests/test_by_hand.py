"""Commands on a machine that was set up by hand, from a checkout: they mean what runs there."""

from pathlib import Path

import pytest

from deploy.provision.tests.fake_machine import PROVISION, Machine


@pytest.fixture
def running(machine: Machine) -> Path:
    """The folder of the release that runs on a worker machine; without IDRL_ROLE, as by hand."""
    folder = machine.opt / "releases" / "abc123" / "worker-server"
    folder.mkdir(parents=True)
    (machine.opt / "current").symlink_to("releases/abc123")
    (machine.etc / "folder").write_text("worker-server\n")
    return folder


def test_compose_is_run_where_the_settings_are(machine: Machine, running: Path) -> None:
    machine.program("docker-compose", 'echo "$(pwd -P): $*"')
    done = machine.run(PROVISION / "compose", "logs", "-f")
    assert (done.code, done.output) == (0, f"{running.resolve()}: logs -f\n")


@pytest.mark.usefixtures("running")
def test_revision_needs_no_role(machine: Machine) -> None:
    (machine.etc / "answers-at").write_text("http://10.0.0.4:5004\n")
    machine.program("curl", """echo '{"status": "ok", "revision": "abc123"}'""")
    done = machine.run(PROVISION / "revision")
    assert (done.code, done.output) == (0, "abc123\n")


@pytest.mark.usefixtures("running")
def test_revision_of_a_file_machine(machine: Machine) -> None:
    (machine.etc / "folder").unlink()
    machine.program("systemctl", "true")
    done = machine.run(PROVISION / "revision")
    assert (done.code, done.output) == (0, "abc123\n")


def test_a_release_of_a_closed_checkout_can_be_read(machine: Machine) -> None:
    """Made with umask 077, as on hardened machines; containers have parts of it mounted."""
    source = machine.folder / "checkout"
    (source / "web-server" / "nginx").mkdir(parents=True, mode=0o700)
    (source / "web-server" / "nginx" / "start.sh").touch(mode=0o700)
    (source / "web-server").chmod(0o700)
    source.chmod(0o700)
    done = machine.shell(f"umask 077; copy_release {source} one")
    assert done.code == 0, done.output
    release = machine.opt / "releases" / "one"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (release, *release.rglob("*"))}
    assert set(modes.values()) == {0o755}, modes


def test_a_machine_without_anything_has_no_revision(machine: Machine) -> None:
    done = machine.run(PROVISION / "revision")
    assert done.code == 1
    assert "role_unknown: this machine was never set up" in done.output


def test_a_release_that_is_not_read_whole_is_not_used(machine: Machine) -> None:
    """A disk with a bad sector, or a checkout that changes meanwhile: tar reads on and says so."""
    source = machine.folder / "checkout"
    source.mkdir()
    (source / "LICENSE").write_text("kept")
    machine.program(
        "tar", 'case $* in *-cf*) /bin/tar "$@"; exit 2 ;; *) exec /bin/tar "$@" ;; esac'
    )
    done = machine.shell(f"copy_release {source} one")
    assert done.code != 0
    assert f"release_not_copied: {source}" in done.output
    assert not (machine.opt / "releases" / "one").exists()
