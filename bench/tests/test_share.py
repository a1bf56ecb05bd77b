"""How a trace is read, with traces as strace writes them."""

from pathlib import Path

import pytest

from bench.share import reading

FILE = "/share/source.1"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def test_each_byte_counts_once_and_each_call(trace: Path) -> None:
    trace.write_text(
        f'11 openat(AT_FDCWD</scratch>, "{FILE}", O_RDONLY|O_CLOEXEC|O_PATH) = 4<{FILE}>\n'
        f'11 openat(AT_FDCWD</scratch>, "{FILE}", O_RDONLY) = 4<{FILE}>\n'
        f'11 read(4<{FILE}>, "\\0\\0\\0 ftyp"..., 1000) = 1000\n'
        f"12 lseek(4<{FILE}>, 5000, SEEK_SET) = 5000\n"
        f'12 read(4<{FILE}>, "..."..., 1000) = 300\n'
        f'13 openat(AT_FDCWD</work>, "{FILE}", O_RDONLY) = 5<{FILE}>\n'
        f'13 read(5<{FILE}>, "..."..., 1200) = 1200\n'
        '13 read(6</scratch/clip.mp4>, "..."..., 9000) = 9000\n'
    )
    read = reading(trace, Path(FILE))
    assert (read.opened, read.calls) == (2, 6)
    assert read.requested_bytes == 1000 + 300 + 1200
    assert read.distinct_bytes == 1200 + 300


def test_call_that_another_thread_interrupts_counts(trace: Path) -> None:
    trace.write_text(
        f'21 openat(AT_FDCWD</scratch>, "{FILE}", O_RDONLY) = 4<{FILE}>\n'
        f"22 read(4<{FILE}>,  <unfinished ...>\n"
        '23 read(7</scratch/clip.mp4>, "", 10) = 0\n'
        '22 <... read resumed>"..."..., 1000) = 700\n'
    )
    read = reading(trace, Path(FILE))
    assert (read.requested_bytes, read.distinct_bytes) == (700, 700)
