"""The share on a worker machine: what is mounted is what the machine's settings say."""

from pathlib import Path

import pytest

from deploy.provision.tests.fake_machine import CHECKOUT, Done, Machine

# Fails to stop the mount while the share is busy; what it stops is not mounted afterwards.
SYSTEMCTL = """echo "systemctl $*" >>"$CALLS"
case "$*" in
*"stop usr-remote_folder.mount") [ ! -e "$ROOT/busy" ] && rm -f "$ROOT/mounted" ;;
"start usr-remote_folder.automount")
    [ -e "$ROOT/mounted" ] || sed -n 's/^What=//p' \\
        "$ROOT/units/usr-remote_folder.mount" >"$ROOT/mounted" ;;
esac"""


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """A machine with systemd, whose share can be read."""
    for folder in ("units", "systemd", "share"):
        (machine.folder / folder).mkdir()
    (machine.folder / "share" / ".idrl-share").touch()
    machine.program("systemctl", SYSTEMCTL)
    machine.program("findmnt", 'cat "$ROOT/mounted" 2>/dev/null')
    machine.program("id", "echo 0")
    machine.program("mount.nfs4", ":")
    return machine


def mount(machine: Machine, server: str) -> Done:
    """Run mount-share.sh with this machine's folders instead of the system's."""
    text = (CHECKOUT / "file-server" / "mount-share.sh").read_text()
    for path, name in (
        ("/etc/systemd/system", "units"),
        ("/run/systemd/system", "systemd"),
        ("/usr/remote_folder", "share"),
    ):
        text = text.replace(path, str(machine.folder / name))
    script = machine.folder / "mount-share.sh"
    script.write_text(text)
    return machine.run("sh", script, FILE_SERVER=server, ROOT=str(machine.folder))


def mounted(machine: Machine) -> str:
    return (machine.folder / "mounted").read_text().partition(":")[0]


def test_another_server_takes_the_place_of_the_first(machine: Machine) -> None:
    for server in ("old.internal", "new.internal"):
        assert mount(machine, server).code == 0
        assert mounted(machine) == server


def test_an_old_share_that_is_in_use_is_not_taken_for_the_new_one(machine: Machine) -> None:
    assert mount(machine, "old.internal").code == 0
    busy = machine.folder / "busy"
    busy.touch()
    for _ in range(2):
        assert mount(machine, "new.internal").code != 0
    busy.unlink()
    assert mount(machine, "new.internal").code == 0
    assert mounted(machine) == "new.internal"


def test_a_share_that_is_in_use_stays_mounted(machine: Machine, tmp_path: Path) -> None:
    assert mount(machine, "old.internal").code == 0
    (tmp_path / "busy").touch()
    assert mount(machine, "old.internal").code == 0
