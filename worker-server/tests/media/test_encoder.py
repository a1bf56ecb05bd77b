"""An encoder on a leash: progress, stops, stalls, deaths, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from idrl_testing.processes import child_pids, is_alive
from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server.media import (
    ChildFiles,
    EncodeFailed,
    MediaProcessCrashed,
    PartEdit,
    Profile,
    Stopped,
    plan_parts,
    probe,
    renderer,
    run_encoder,
)
from worker_server.media.process import guard

Make = Callable[..., Path]
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
PYTHON = [sys.executable, "-I", "-u", "-c"]


def run(command: list[str], scratch: Path, **options: Any) -> None:  # noqa: ANN401 # passed on
    """Run it with everything these tests make within reach, and nothing else."""
    arguments: dict[str, Any] = {
        "total_frames": 100,
        "on_progress": lambda _: None,
        "should_stop": lambda: False,
        "stall_s": LIMIT_S,
        "timeout_s": LIMIT_S,
        "files": ChildFiles((scratch.parent.parent,), (scratch,)),
    }
    run_encoder(command, scratch=scratch, **(arguments | options))


def failure(command: list[str], scratch: Path, **options: Any) -> EncodeFailed:  # noqa: ANN401 # passed on
    with pytest.raises(EncodeFailed) as caught:
        run(command, scratch, **options)
    return caught.value


def await_death(pid: int) -> None:
    """Return when a process that is not a child of this one is gone."""
    wait_until(lambda: not is_alive(pid))


@pytest.fixture
def long_edit(make: Make) -> PartEdit:
    """A part that takes minutes to render."""
    path = make(f"-f lavfi -i testsrc2=s=640x360:r=30:d=20 {X264}", "long.mp4")
    source = probe(path)
    return PartEdit.of(source, path, plan_parts(source)[0], profile=Profile("placebo", 1, 1))


def test_progress_grows_to_one(make: Make, ffmpeg: str, tmp_path: Path) -> None:
    path = make(f"-f lavfi -i testsrc2=s=640x360:r=25:d=4 {X264}", "plain.mp4")
    source = probe(path)
    edit = PartEdit.of(source, path, plan_parts(source)[0], profile=Profile("medium", 23, 1))
    seen: list[float] = []
    command = renderer("ffmpeg", ffmpeg).command(edit, tmp_path / "o.mp4")
    run(command, tmp_path, total_frames=edit.total_frames, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert any(0 < value < 1 for value in seen)


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_stop_ends_everything_at_once(
    engine: str, long_edit: PartEdit, ffmpeg: str, tmp_path: Path
) -> None:
    command = renderer(engine, ffmpeg).command(long_edit, tmp_path / "o.mp4")
    started: list[float] = []
    with pytest.raises(Stopped):
        run(
            command,
            tmp_path,
            on_progress=lambda value: started.append(value) if value else None,
            should_stop=lambda: bool(started),
        )
    assert len(started) == 1
    assert frames_in(tmp_path / "o.mp4") < long_edit.total_frames  # not encoded to its end
    await_no_process_in(tmp_path)


def frames_in(clip: Path) -> int:
    """Return how many frames the file has; 0 where its encoder was killed."""
    try:
        with av.open(str(clip)) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except (FileNotFoundError, av.InvalidDataError):
        return 0


def running_in(folder: Path) -> list[str]:
    """The commands of all processes that work in a folder."""
    command_lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                command_lines.append((process / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return command_lines


def await_no_process_in(folder: Path) -> None:
    """Return when the killed processes are gone; only the kernel waits for a child's children."""
    wait_until(lambda: not running_in(folder), describe=lambda: running_in(folder))


def test_encoder_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal,time;"
        'signal.signal(signal.SIGTERM, signal.SIG_IGN); print("frame=1", flush=True);'
        " time.sleep(60)']);"
        "time.sleep(60)"
    )
    seen: list[float] = []
    with pytest.raises(Stopped):
        run(
            [*PYTHON, code],
            tmp_path,
            on_progress=seen.append,
            should_stop=lambda: bool(seen and seen[-1]),
        )
    await_no_process_in(tmp_path)


def test_an_error_in_a_callback_leaves_nothing_behind(
    long_edit: PartEdit, ffmpeg: str, tmp_path: Path
) -> None:
    def on_progress(_: float) -> None:
        raise ConnectionError("the database is unavailable")

    with pytest.raises(ConnectionError):
        run(
            renderer("ffmpeg", ffmpeg).command(long_edit, tmp_path / "o.mp4"),
            tmp_path,
            on_progress=on_progress,
        )
    await_no_process_in(tmp_path)


def test_no_progress_is_a_stall(tmp_path: Path) -> None:
    error = failure(
        [*PYTHON, "import time; print('frame=1'); time.sleep(60)"], tmp_path, stall_s=0.5
    )
    assert (error.code, error.retryable) == ("encoder_stalled", True)


def test_progress_that_repeats_itself_is_a_stall(tmp_path: Path) -> None:
    code = "import time\nwhile True: print('frame=7'); time.sleep(0.05)"
    assert failure([*PYTHON, code], tmp_path, stall_s=0.7).code == "encoder_stalled"


def test_the_deadline_is_kept(tmp_path: Path) -> None:
    code = (
        "import itertools, time\nfor n in itertools.count(1): print(f'frame={n}'); time.sleep(0.05)"
    )
    error = failure([*PYTHON, code], tmp_path, timeout_s=0.7)
    assert (error.code, error.retryable) == ("encoder_timeout", True)


def test_stderr_flood_blocks_nothing_and_is_bounded(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('x' * 5_000_000 + 'the end'); sys.exit(3)"
    error = failure([*PYTHON, code], tmp_path)
    assert (error.code, error.retryable) == ("encoder_failed", True)
    assert error.stderr_tail.endswith("the end")
    assert len(error.stderr_tail) < 5000


def test_a_killed_encoder_may_be_tried_again(tmp_path: Path) -> None:
    error = failure([*PYTHON, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], tmp_path)
    assert (error.code, error.retryable) == ("encoder_killed", True)


def test_full_disk_is_not_blamed_on_the_video(tmp_path: Path) -> None:
    code = "import sys; sys.exit('av_interleaved_write_frame(): No space left on device')"
    error = failure([*PYTHON, code], tmp_path)
    assert (error.code, error.retryable) == ("storage_full", True)


def test_a_clip_that_grows_too_large_is_given_up(make: Make, ffmpeg: str, tmp_path: Path) -> None:
    path = make(f"-f lavfi -i testsrc2=s=640x360:r=25:d=2 {X264}", "plain.mp4")
    source = probe(path)
    edit = PartEdit.of(source, path, plan_parts(source)[0], profile=Profile("ultrafast", 5, 1))
    command = renderer("ffmpeg", ffmpeg).command(edit, tmp_path / "o.mp4")
    error = failure(command, tmp_path, max_output_bytes=20_000)
    assert (error.code, error.retryable) == ("clip_too_large", False)


def test_memory_is_limited(long_edit: PartEdit, ffmpeg: str, tmp_path: Path) -> None:
    command = renderer("ffmpeg", ffmpeg).command(long_edit, tmp_path / "o.mp4")
    assert failure(command, tmp_path, memory_bytes=150_000_000).code in {
        "encoder_out_of_memory",
        "encoder_killed",
    }


def test_damage_in_the_middle_is_the_source_s_fault(
    make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"-f lavfi -i testsrc2=s=320x180:r=25:d=4 {X264} -g 25 -c:v mjpeg", "plain.mov")
    source = probe(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40_000] = b"\xff\xd8" * 20_000
    path.write_bytes(content)
    edit = PartEdit.of(source, path, plan_parts(source)[0], profile=Profile("ultrafast", 30, 1))
    error = failure(renderer("ffmpeg", ffmpeg).command(edit, tmp_path / "o.mp4"), tmp_path)
    assert (error.code, error.retryable) == ("source_damaged", False)


@pytest.mark.parametrize("gone", ["source", "logo"])
def test_a_file_that_is_gone_is_not_the_video_s_fault(
    gone: str, make: Make, ffmpeg: str, tmp_path: Path
) -> None:
    path = make(f"-f lavfi -i testsrc2=s=320x180:r=25:d=1 {X264}", "plain.mp4")
    logo = make("-f lavfi -i color=c=white:s=32x32:d=1 -frames:v 1", "logo.png")
    source = probe(path)
    edit = PartEdit.of(source, path, plan_parts(source)[0], logo_path=logo)
    {"source": path, "logo": logo}[gone].unlink()
    error = failure(renderer("ffmpeg", ffmpeg).command(edit, tmp_path / "o.mp4"), tmp_path)
    assert (error.code, error.retryable) == ("encoder_failed", True)
    assert str(path.parent) not in error.message


@pytest.mark.parametrize("engine", ["ffmpeg", "moviepy"])
def test_no_encoder_outlives_a_killed_worker(
    engine: str, long_edit: PartEdit, ffmpeg: str, tmp_path: Path
) -> None:
    command = renderer(engine, ffmpeg).command(long_edit, tmp_path / "o.mp4")
    worker = f"""
from pathlib import Path
from worker_server.media import ChildFiles, run_encoder
folder = Path({str(tmp_path)!r})
def on_progress(value):
    if value:
        (folder / "started").touch()
run_encoder({command!r}, total_frames=1000, on_progress=on_progress,
    should_stop=lambda: False, scratch=folder,
    files=ChildFiles((folder.parent.parent,), (folder,)))
"""
    process = subprocess.Popen([sys.executable, "-I", "-c", worker])
    wait_until((tmp_path / "started").exists)
    (child,) = child_pids(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    await_death(child)
    await_no_process_in(tmp_path)


def test_a_child_is_stopped_when_its_thread_waits_elsewhere(tmp_path: Path) -> None:
    """The worker's heartbeat runs in another thread; rendering from a thread works as well."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run([*PYTHON, "print('frame=5')"], tmp_path)
        except BaseException as error:  # noqa: BLE001 # to be raised in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def test_an_encoder_gets_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "swordfish")
    code = "import os, pathlib; pathlib.Path('seen').write_text(repr(dict(os.environ)))"
    run([*PYTHON, code], tmp_path)
    assert "swordfish" not in (tmp_path / "seen").read_text()


def test_a_program_that_cannot_be_started_is_no_fault_of_the_video(tmp_path: Path) -> None:
    with pytest.raises(MediaProcessCrashed) as caught:
        run(["/etc/hostname", "-i", "video.mp4"], tmp_path)
    assert caught.value.code == "internal_error"
    assert "guard: " in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["1", "x"], [str(os.getpid()), *"0000000"]])
def test_guard_with_unknown_arguments_exits_with_failed_status(
    arguments: list[str],
) -> None:
    """As if its file were replaced while a worker runs."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", guard.__file__, *arguments], capture_output=True, check=False
    )
    assert (done.returncode, b"guard: " in done.stderr) == (guard.FAILED_STATUS, True)
