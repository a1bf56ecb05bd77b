import subprocess
import sys
import time
from pathlib import Path

import pytest

from idrl_local import progress
from idrl_local.home import Home
from idrl_local.progress import StartProgress

# Acquires the lock of `fetch`, then works or sleeps.
CHILD = """
import sys, time
from pathlib import Path
from idrl_local.pidlocks import PidLock
PidLock(Path(sys.argv[1])).acquire()
print("ready", flush=True)
while sys.argv[2] == "work":
    pass
time.sleep(60)
"""


@pytest.mark.parametrize(("behaviour", "goes_on"), [("work", True), ("sleep", False)])
def test_start_is_given_up_only_when_no_process_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, goes_on: bool
) -> None:
    monkeypatch.setattr(progress, "_WRITE_EVERY_S", 0.1)
    monkeypatch.setattr(progress, "_PROGRESS_CPU_S", 0.05)
    home = Home(tmp_path)
    home.create()
    messages: list[str] = []
    command = [sys.executable, "-c", CHILD, str(home.lock("fetch").path), behaviour]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        watch = StartProgress(home, 3, messages.append)
        deadline = time.monotonic() + 6
        is_made = True
        # Without work it ends by itself, however late this process is.
        while is_made and (time.monotonic() < deadline or not goes_on):
            is_made = watch.is_made("fetch")
            time.sleep(0.02)
        child.kill()
    assert is_made is goes_on
    assert messages[0] == "waiting for fetch (0 s)"
    assert len(messages) > 1
