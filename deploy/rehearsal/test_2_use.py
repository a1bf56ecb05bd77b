"""The system from outside, by a client that knows only its address."""

import os
import subprocess
import sys

import expected
from harness.stack import CHECKOUT
from rehearsal.system import System


def test_end_to_end(system: System) -> None:
    """The black-box tests, all of them."""
    folder = system.work.folder / "end-to-end"
    folder.mkdir()
    variables = {"BASE_URL": system.url, "SOURCE_HOST": expected.WORLD, "TMPDIR": str(folder)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "e2e",
        "-p",
        "no:cacheprovider",
        "--quiet",
        "--durations=10",
    ]
    command = system.network.in_the_world(command)
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-8000:]
