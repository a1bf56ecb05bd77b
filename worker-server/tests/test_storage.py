"""A file on the share is whole or not there."""

import errno
import os
import resource
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from worker_server import storage

TASK = uuid.UUID(int=1)


@pytest.fixture
def folder(share: Path) -> Path:
    folder = storage.task_folder(share, TASK)
    folder.mkdir()
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(3_000_000))
    return path


def remove_all(share: Path) -> storage.Removed:
    return storage.remove_files(share, TASK, storage.list_files(share, TASK))


def test_publish_copies_the_whole_file(share: Path, folder: Path, clip: Path) -> None:
    target = storage.part_path(share, TASK, 0, 1)
    storage.publish(clip, target)
    assert target.read_bytes() == clip.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["0.1.mp4"]


def test_no_space_leaves_nothing(share: Path, folder: Path, clip: Path) -> None:
    # A limit on the size of files stands in for a full disk: the write fails in the middle.
    script = (
        "import pathlib, signal, sys; from worker_server import storage\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: storage.publish(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "except OSError as error: print(error.errno)"
    )
    target = storage.part_path(share, TASK, 0, 1)
    done = subprocess.run(
        [sys.executable, "-c", script, str(clip), str(target)],
        capture_output=True,
        check=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.stdout.strip() == "27"
    assert list(folder.iterdir()) == []


def test_a_name_is_never_written_twice_at_once(share: Path, folder: Path, clip: Path) -> None:
    target = storage.part_path(share, TASK, 0, 1)
    folder.joinpath(f".{target.name}.tmp").touch()
    with pytest.raises(FileExistsError):
        storage.publish(clip, target)


def test_files_are_removed_with_their_folder_and_counted(share: Path, folder: Path) -> None:
    (folder / "source.1").write_bytes(b"1" * 1000)
    (folder / "0.1.mp4").write_bytes(b"1" * 23)
    assert remove_all(share) == storage.Removed(1023)
    assert not folder.exists()
    assert remove_all(share) == storage.Removed(0)


def test_unremovable_file_does_not_stop_the_removal_of_others(
    share: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("0.1.mp4", "1.1.mp4", "2.1.mp4"):
        (folder / name).write_bytes(b"12345")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "1.1.mp4":
            raise OSError(errno.EBUSY, "busy")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)  # stands in for a file server that refuses
    removed = remove_all(share)
    assert (removed.freed_bytes, removed.error and removed.error.errno) == (10, errno.EBUSY)
    assert [path.name for path in folder.iterdir()] == ["1.1.mp4"]
    monkeypatch.undo()
    assert remove_all(share) == storage.Removed(5)


def test_no_file_is_reported_removed_while_the_share_is_unavailable(
    share: Path, folder: Path
) -> None:
    (folder / "0.1.mp4").touch()
    listed = storage.list_files(share, TASK)
    folder.rename(share.with_name("unmounted"))
    (share / storage.MARKER).unlink()
    with pytest.raises(OSError, match="not mounted"):
        storage.list_files(share, TASK)
    assert storage.remove_files(share, TASK, listed).error is not None


def test_the_source_of_another_attempt_stays(share: Path, folder: Path) -> None:
    for name in ("source.1", "source.1.remuxed", "source.10", "source.12.remuxed"):
        (folder / name).touch()
    storage.remove_source(share, TASK, 1)
    assert {path.name for path in folder.iterdir()} == {"source.10", "source.12.remuxed"}


def test_files_are_removed_except_those_to_keep(share: Path, folder: Path) -> None:
    for name in ("source.1", "source.1.remuxed", ".0.1.mp4.tmp", "0.1.mp4", "0.2.mp4"):
        (folder / name).touch()
    names = storage.list_files(share, TASK)
    (folder / "1.1.mp4").touch()  # written after the listing
    assert storage.remove_files(share, TASK, names, keep={"0.2.mp4"}).error is None
    assert {path.name for path in folder.iterdir()} == {"0.2.mp4", "1.1.mp4"}


def test_other_entries_are_not_task_folders(share: Path, folder: Path) -> None:
    (share / "lost+found").mkdir()
    assert [task_id for task_id, _ in storage.task_folders(share)] == [TASK]
    assert folder.exists()


def test_folder_without_the_marker_is_not_the_share(share: Path) -> None:
    assert storage.check_usable(share, reserve_bytes=0) > 0
    (share / storage.MARKER).unlink()
    assert not storage.is_mounted(share)
    with pytest.raises(storage.ShareAway):
        storage.check_usable(share, reserve_bytes=0)


def test_share_with_less_space_than_the_reserve_is_full(share: Path) -> None:
    with pytest.raises(storage.ShareFull):
        storage.check_usable(share, reserve_bytes=2**62)
    assert {path.name for path in share.iterdir()} == {storage.MARKER}


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EROFS, storage.ShareAway),
        (errno.EIO, storage.ShareAway),
        (errno.ESTALE, storage.ShareAway),
        (errno.ENOSPC, storage.ShareFull),
        (errno.EDQUOT, storage.ShareFull),
    ],
)
def test_share_that_cannot_be_written_is_not_usable(
    share: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)  # stands in for a file server that refuses
    with pytest.raises(error):
        storage.check_usable(share, reserve_bytes=0)


@pytest.mark.parametrize(
    ("start", "length"), [(0, 3_000_000), (0, 10), (1_000_003, 70_000), (2_999_999, 1), (5, 0)]
)
def test_a_range_is_read_to_its_end_and_no_further(clip: Path, start: int, length: int) -> None:
    wanted = clip.read_bytes()[start : start + length]
    with storage.FileRange(clip, start, length) as part:
        assert b"".join(iter(lambda: part.read(8192), b"")) == wanted
    with storage.FileRange(clip, start, length) as part:
        assert part.read() == wanted


def test_descriptor_of_a_range_is_at_its_start(clip: Path) -> None:
    """What the kernel sends, when a server hands it the descriptor, begins there."""
    with storage.FileRange(clip, 1_000_003, 10) as part:
        assert os.lseek(part.fileno(), 0, os.SEEK_CUR) == 1_000_003


def test_range_of_a_missing_file(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.FileRange(folder / "0.1.mp4", 0, 1)
