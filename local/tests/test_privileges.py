"""What root keeps when it starts the system: nothing, and never root's files."""

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from idrl_local import privileges, system
from idrl_local.home import Home, HomeUnusable, PortTaken

NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to drop")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below `tmp_path`, which is closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def status_of(command: list[str]) -> dict[str, str]:
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        name: " ".join(value.split())
        for name, _, value in (line.partition(":") for line in text.splitlines())
    }


@needs_root
@pytest.mark.parametrize(("may_read_all", "capabilities"), [(False, 0), (True, 1 << 2)])
def test_unprivileged_command_has_one_user_and_no_capability_but_to_read(
    may_read_all: bool, capabilities: int
) -> None:
    words = ["cat", "/proc/self/status"]
    status = status_of(privileges.unprivileged(words, NOBODY, may_read_all=may_read_all))
    assert set(status["Uid"].split()) == {str(NOBODY.pw_uid)}
    assert set(status["Gid"].split()) == {str(NOBODY.pw_gid)}
    assert status["Groups"] == ""
    assert status["NoNewPrivs"] == "1"
    sets = {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")}
    assert sets == {capabilities}


@needs_root
def test_home_of_root_is_given_to_the_user_and_links_are_not_followed(folder: Path) -> None:
    """As an earlier release left it: everything root's, but for what PostgreSQL wrote."""
    secret = folder / "secret"
    secret.write_text("x")
    home = Home(folder / "home")
    home.create()
    (home.share / "task").mkdir()
    (home.share / "task" / "clip.mp4").touch()
    (home.share / "link").symlink_to(secret)
    foreign = home.data / "cluster"
    foreign.mkdir()
    (foreign / "root's").touch()
    os.chown(foreign, 1234, 1234)
    command, environment = privileges.command_for_root(home, ["up"], {})
    assert command[-2:] == ["idrl_local", "up"]
    assert environment["HOME"] == str(home.run)
    for path in (
        home.share,
        home.share / "task" / "clip.mp4",
        home.share / "link",
        home.secrets_file,
        home.run,
    ):
        assert path.lstat().st_uid == NOBODY.pw_uid, path
    assert secret.stat().st_uid == 0
    assert foreign.stat().st_uid == 1234
    assert (foreign / "root's").stat().st_uid == 0
    assert home.root.stat().st_uid == 0
    assert home.root.stat().st_mode & 0o777 == 0o711


@needs_root
@pytest.mark.parametrize("was_open", [False, True])
def test_other_users_read_no_clip_and_no_log(folder: Path, was_open: bool) -> None:
    """The home itself is open, for the system's user; 0.1.0 closed the home and no folder."""
    home = Home(folder / "home")
    home.create()
    folders = (home.data, home.logs, home.run, home.share)
    clip = home.share / "clip.mp4"
    clip.write_text("an account's")
    if was_open:
        for each in folders:
            each.chmod(0o755)
            os.chown(each, NOBODY.pw_uid, NOBODY.pw_gid)
    privileges.command_for_root(home, ["up"], {})
    assert {each: each.stat().st_mode & 0o077 for each in folders} == dict.fromkeys(folders, 0)
    daemon = privileges.unprivileged(["cat", str(clip)], pwd.getpwnam("daemon"))
    read = subprocess.run(daemon, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stdout) == (1, "")
    own = privileges.unprivileged(["cat", str(clip)], NOBODY)
    assert subprocess.run(own, capture_output=True, text=True, check=True).stdout == "an account's"


@needs_root
def test_files_that_only_root_can_read_are_copied_for_the_user(folder: Path) -> None:
    home = Home(folder / "home")
    home.create()
    key, logo = folder / "key.pem", folder / "logo.png"
    key.write_text("first")
    logo.write_text("public")
    key.chmod(0o600)
    settings = {"TLS_KEY": str(key), "LOGO_PATH": str(logo), "TLS_CERT": str(folder / "missing")}
    environment = privileges.command_for_root(home, ["up"], settings)[1]
    copy = Path(environment["TLS_KEY"])
    assert copy.read_text() == "first"
    assert (copy.stat().st_uid, copy.stat().st_mode & 0o777) == (NOBODY.pw_uid, 0o600)
    assert environment["LOGO_PATH"] == str(logo)
    assert environment["TLS_CERT"] == str(folder / "missing")
    key.write_text("second")
    assert privileges.command_for_root(home, ["up"], settings)[1]["TLS_KEY"] != str(copy)
    assert not copy.exists()


@needs_root
@pytest.mark.parametrize("word", ["status", "users", "down"])
def test_copies_outlive_commands_that_name_no_files(folder: Path, word: str) -> None:
    """A render worker reads the logo for as long as the system runs."""
    home = Home(folder / "home")
    home.create()
    logo = folder / "logo.png"
    logo.write_bytes(b"logo")
    logo.chmod(0o600)
    copy = privileges.command_for_root(home, ["up"], {"LOGO_PATH": str(logo)})[1]["LOGO_PATH"]
    privileges.command_for_root(home, [word], {})
    assert Path(copy).read_bytes() == b"logo"


@needs_root
def test_copied_files_of_a_running_system_survive_another_start(folder: Path) -> None:
    home = Home(folder / "home")
    home.create()
    logo = folder / "logo.png"
    logo.write_bytes(b"logo")
    logo.chmod(0o600)
    settings = {"LOGO_PATH": str(logo)}
    copy = Path(privileges.command_for_root(home, ["up"], settings)[1]["LOGO_PATH"])
    kept = copy.stat().st_ino
    code = (
        "import pathlib, sys, time; from idrl_local.pidlocks import PidLock\n"
        f"PidLock(pathlib.Path({str(home.run / 'supervisord.lock')!r})).acquire()\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    command = privileges.unprivileged([sys.executable, "-c", code], NOBODY, may_read_all=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisord:
        assert supervisord.stdout
        assert supervisord.stdout.readline() == "ready\n"
        privileges.command_for_root(home, ["up"], settings)
        assert copy.stat().st_ino == kept
        logo.write_bytes(b"another logo")
        privileges.command_for_root(home, ["up"], settings)
        assert copy.read_bytes() == b"logo"
        supervisord.kill()


@needs_root
@pytest.mark.parametrize("word", ["status", "down", "up"])
def test_home_is_used_as_the_user_it_belongs_to(folder: Path, word: str) -> None:
    """RUN_AS is named once, at the first start."""
    home = Home(folder / "home")
    home.create()
    daemon = pwd.getpwnam("daemon")
    privileges.command_for_root(home, ["up"], {"RUN_AS": "daemon"})
    command, _ = privileges.command_for_root(home, [word], {})
    assert f"--reuid={daemon.pw_uid}" in command
    with pytest.raises(HomeUnusable, match=r"RUN_AS=nobody: .* belongs to daemon"):
        privileges.command_for_root(home, [word], {"RUN_AS": "nobody"})
    assert home.secrets_file.stat().st_uid == daemon.pw_uid


def test_closed_folder_is_named(folder: Path) -> None:
    home = Home(folder / "closed" / "home")
    home.root.mkdir(parents=True)
    home.root.chmod(0o755)
    assert privileges._first_inaccessible(home.root, NOBODY) is None
    home.root.parent.chmod(0o700)
    if home.root.parent.stat().st_uid != NOBODY.pw_uid:
        assert privileges.inaccessible_path(home, NOBODY) == home.root.parent


@pytest.mark.parametrize(
    ("name", "message"), [("root", "this is root"), ("idrl-nobody-has-it", "no such user")]
)
def test_run_as_names_a_user_without_privileges(name: str, message: str) -> None:
    with pytest.raises(HomeUnusable, match=message):
        privileges.user_of({"RUN_AS": name})


@needs_root
@pytest.mark.parametrize("word", ["down", "status"])
def test_lost_secrets_keep_no_system_running(folder: Path, word: str) -> None:
    home = Home(folder / "home")
    privileges.command_for_root(home, ["up"], {})
    (home.data / "postgres").mkdir()
    home.secrets_file.unlink()
    privileges.command_for_root(home, [word], {})
    with pytest.raises(HomeUnusable, match=r"secrets\.env is missing"):
        privileges.command_for_root(home, ["up"], {})


def test_error_of_the_command_for_root_keeps_its_kind_and_its_words() -> None:
    messages: list[str] = []
    lines = ["waiting for redis (0 s)\n", "PortTaken: port 5050 is taken\n", "second line\n"]
    error = system._first_error(lines, messages.append)
    assert isinstance(error, PortTaken)
    assert str(error) == "port 5050 is taken\nsecond line"
    assert messages == ["waiting for redis (0 s)"]
    assert system._first_error(["Traceback: x\n"], messages.append) is None
