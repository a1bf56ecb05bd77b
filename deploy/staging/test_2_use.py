"""The system from outside, by a client that knows only its address."""

import os
import subprocess
import sys

import expected
import pytest
from harness.black_box import BETWEEN_SERVICES
from harness.stack import CHECKOUT
from staging.system import System

NAMES = (*BETWEEN_SERVICES, "test_readme")


# Each file by itself: together they take longer than a test may on machines this slow.
@pytest.mark.parametrize("name", NAMES)
def test_end_to_end(system: System, name: str) -> None:
    """The black-box tests of what passes from machine to machine, and README's walk."""
    folder = system.work.folder / "end-to-end"
    folder.mkdir(exist_ok=True)
    variables = {
        "BASE_URL": system.url,
        "SOURCE_HOST": expected.WORLD,
        "TMPDIR": str(folder),
        "READY_STATUS": "degraded",  # expected.FAILING_CHECKS
    }
    options = ["-p", "no:cacheprovider", "--quiet", "--durations=10"]
    command = system.network.on_an_outside_host(
        [sys.executable, "-m", "pytest", f"e2e/{name}.py", *options]
    )
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-8000:]
