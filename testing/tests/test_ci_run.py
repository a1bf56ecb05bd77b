"""The run of all steps: its exit code, and what an interrupted run leaves."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from idrl_testing.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
CHECKS = (
    "worker-server/have_chromium.sh",
    "containers/have_engine.sh",
    "deploy/monitoring/find_promtool.sh",
)
MAKEFILE = """\
setup .cache/page/venv/.synced: ; @true
%: ; @echo $@ >>made; {step}
"""


def start(folder: Path, step: str) -> "subprocess.Popen[bytes]":
    """Start .ci/run in a checkout whose targets all do this one step."""
    (folder / ".ci").mkdir()
    shutil.copy(CHECKOUT / ".ci" / "run", folder / ".ci" / "run")
    for name in CHECKS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to("/bin/false")
    (folder / "Makefile").write_text(MAKEFILE.format(step=step))
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder)}
    # The tests may run with signals ignored, by nohup or as a background job of a shell.
    command = ["env", "--default-signal=INT,TERM,HUP", str(folder / ".ci" / "run")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def made(folder: Path) -> list[str]:
    file = folder / "made"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize(("step", "code"), [("true", 0), ("[ $@ != test-gcp ]", 1)])
def test_every_step_is_run_and_a_failed_one_fails_the_run(
    tmp_path: Path, step: str, code: int
) -> None:
    assert start(tmp_path, step).wait(60) == code
    assert {"lint", "test", "test-gcp", "test-clients"} <= set(made(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_ends_at_once_with_all_that_it_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    run = start(tmp_path, "sleep 100")
    wait_until(lambda: len(made(tmp_path)) == 2)
    started = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(number)
    try:
        assert run.wait(20) == 1
    finally:
        run.terminate()
    _, alive = psutil.wait_procs(started, 10)
    assert alive == []
    assert not list(tmp_path.glob("tmp.*"))
