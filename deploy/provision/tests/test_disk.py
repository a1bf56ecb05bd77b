"""A disk that holds anything is never formatted.

A file stands in for a disk here: nothing is mounted.
"""

import hashlib
import struct
from pathlib import Path

import pytest

from deploy.provision.tests.fake_machine import PROVISION, Done, Machine

SIZE_BYTES = 32 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(SIZE_BYTES)
    return path


def file_system_of(machine: Machine, disk: Path) -> Done:
    libraries = f". {PROVISION}/lib/common.sh; . {PROVISION}/lib/disk.sh"
    return machine.run(
        "sh", "-euc", f'PATH=$PATH:/usr/sbin:/sbin; {libraries}; file_system_of "$1"', "sh", disk
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_new_disk_gets_a_file_system_once(machine: Machine, disk: Path) -> None:
    first = file_system_of(machine, disk)
    assert first.code == 0, first.output
    output, uuid = first.output.splitlines()
    assert "making a file system" in output
    before = digest(disk)
    assert file_system_of(machine, disk).output == f"{uuid}\n"
    assert digest(disk) == before


def test_a_disk_with_partitions_is_left_alone(machine: Machine, disk: Path) -> None:
    """One Linux partition of 8 MiB, in the first sector as a PC writes it."""
    entry = struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), 2048, 16384)
    with disk.open("r+b") as file:
        file.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
    check_left_alone(machine, disk)


@pytest.mark.parametrize("at", [0, 4096, 10_000_000])
def test_a_disk_with_unknown_content_is_left_alone(machine: Machine, disk: Path, at: int) -> None:
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(b"existing data")
    check_left_alone(machine, disk)


def check_left_alone(machine: Machine, disk: Path) -> None:
    before = digest(disk)
    done = file_system_of(machine, disk)
    assert done.code == 1
    assert "disk_not_empty" in done.output
    assert digest(disk) == before
