"""Files of root in a home whose system runs as another user."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from idrl_local import privileges
from idrl_local.home import Home

NOBODY = pwd.getpwnam("nobody")
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


@pytest.fixture
def home() -> Iterator[Home]:
    """A home that the user has had once, not below `tmp_path`, which is closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name) / "home")
        privileges.command_for_root(home, ["up"], {})
        assert home.share.stat().st_uid == NOBODY.pw_uid
        yield home


def written_by_root(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    return path


def folder_of(uid: int, path: Path) -> Path:
    path.mkdir()
    os.chown(path, uid, uid)
    return path


def ran_as_root(home: Home) -> None:
    written_by_root(home.run / "fetch.ready")


def test_home_that_0_1_0_used_again_as_root_is_given_back(home: Home) -> None:
    """After a way back: 0.1.0 wrote into new folders, and into those that the user had."""
    ran_as_root(home)
    old_task = folder_of(NOBODY.pw_uid, home.share / "old")
    files = (
        written_by_root(home.run / "metrics-web" / "counter.db"),
        written_by_root(home.share / "new" / "0.1.mp4"),
        written_by_root(old_task / "1.2.mp4"),
    )
    privileges.command_for_root(home, ["up"], {})
    owned = (*files, home.run / "fetch.ready", home.run / "metrics-web", home.share / "new")
    assert {path: path.stat().st_uid for path in owned} == dict.fromkeys(owned, NOBODY.pw_uid)


def test_links_in_a_folder_of_the_user_give_no_file_of_root_away(home: Home) -> None:
    ran_as_root(home)
    secret = written_by_root(home.root / "secret")
    directory = written_by_root(home.root / "directory" / "file").parent
    task = folder_of(NOBODY.pw_uid, home.share / "task")
    (task / "symbolic").symlink_to(secret)
    (task / "folder").symlink_to(directory)
    (task / "hard").hardlink_to(secret)
    privileges.command_for_root(home, ["up"], {})
    kept = (secret, directory, directory / "file")
    assert {path: path.stat().st_uid for path in kept} == dict.fromkeys(kept, 0)


def test_hard_linked_copy_of_a_home_of_root_keeps_no_clip_from_the_user(home: Home) -> None:
    ran_as_root(home)
    clip = written_by_root(home.share / "task" / "0.1.mp4")
    (home.root / "copy.mp4").hardlink_to(clip)
    privileges.command_for_root(home, ["up"], {})
    assert clip.stat().st_uid == NOBODY.pw_uid


def test_folder_of_another_user_is_not_entered(home: Home) -> None:
    ran_as_root(home)
    other = folder_of(1234, home.data / "cluster")
    file = written_by_root(other / "file")
    privileges.command_for_root(home, ["up"], {})
    assert (file.stat().st_uid, other.stat().st_uid) == (0, 1234)


def test_share_that_is_a_link_of_root_is_given_too(home: Home) -> None:
    ran_as_root(home)
    mounted = folder_of(NOBODY.pw_uid, home.root / "mounted")
    clip = written_by_root(mounted / "0.1.mp4")
    home.share.rmdir()
    home.share.symlink_to(mounted)
    privileges.command_for_root(home, ["up"], {})
    assert clip.stat().st_uid == NOBODY.pw_uid


def test_share_that_is_a_link_of_the_user_gives_nothing_away(home: Home) -> None:
    ran_as_root(home)
    os.chown(home.root, NOBODY.pw_uid, NOBODY.pw_gid)
    file = written_by_root(home.root / "of root" / "file")
    home.share.rmdir()
    home.share.symlink_to(file.parent)
    os.chown(home.share, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    privileges.command_for_root(home, ["up"], {})
    assert file.stat().st_uid == 0
