"""Run a command in a module's folder, with the stand-in as its provider.

`python -m deploy.gcp.offline WHEEL COMMAND…`

The wheel is the one of the provider's bindings; the resources are those that the module's files
use. With IDRL_CLOUD, a folder, they are made in the cloud that is kept there.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from deploy.gcp.offline.bindings import read_schema
from deploy.gcp.offline.cloud import Cloud
from deploy.gcp.offline.provider import served

_USED = re.compile(r'^(resource|data) "(google_\w+)"', re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Return the exit code of the command."""
    wheel, *command = arguments
    used = {each for path in Path().glob("*.tf") for each in _USED.findall(path.read_text())}
    names = {
        kind: sorted(name for block, name in used if block == kind) for kind in ("resource", "data")
    }
    folder = os.environ.get("IDRL_CLOUD")
    cloud = Cloud(Path(folder)) if folder else None
    with served(read_schema(Path(wheel), names["resource"], names["data"]), cloud) as variables:
        environment = {**os.environ, **variables, "CHECKPOINT_DISABLE": "1"}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
