"""Runs schemathesis against the system at BASE_URL: healthy, and while its Redis is stopped.

IDRL_HOME names the home of the system, whose Redis gets SIGSTOP. Further arguments are passed on.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from idrl_local.home import Home

FOLDER = Path(__file__).parent
# Each kind of request is tried on the healthy system; while Redis is stopped, fewer of each.
WITHOUT_REDIS = ("--phases", "fuzzing,stateful", "--max-examples", "5")
DOCUMENT = FOLDER.parents[1] / "docs" / "openapi.yaml"


def main(schemathesis: str, arguments: Sequence[str]) -> int:
    """Return 0 when neither run failed; the second starts after a first without failures."""
    if failed := run(schemathesis, arguments):
        return failed
    with stopped_redis(Home.from_environment(os.environ)):
        return run(schemathesis, [*WITHOUT_REDIS, *arguments])


@contextmanager
def stopped_redis(home: Home) -> Iterator[None]:
    """Have Redis accept connections and answer none."""
    redis = home.lock("redis").pid
    os.kill(redis, signal.SIGSTOP)
    print(f"==> Redis (process {redis}) is stopped", flush=True)
    try:
        yield
    finally:
        os.kill(redis, signal.SIGCONT)


def run(schemathesis: str, arguments: Sequence[str]) -> int:
    """Return the exit code of one run."""
    command = [schemathesis, "--config-file", str(FOLDER / "schemathesis.toml"), "run"]
    command += [str(DOCUMENT), "--url", os.environ["BASE_URL"], *arguments]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
