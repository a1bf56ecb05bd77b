"""Wheels are the same bytes whenever and wherever they are built, and hold what they need."""

import os
import subprocess
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = {"idrl_client", "idrl_common", "idrl_psg", "web_server", "worker_server"}


def build(checkout: Path, target: Path, umask: int) -> dict[str, bytes]:
    """Build all wheels of a tree, and return them by name."""
    subprocess.run(
        [CHECKOUT / "deploy/supply/build_wheels.sh", target],
        cwd=checkout,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "BIN": str(CHECKOUT / ".venv/bin")},
        umask=umask,
        check=True,
        timeout=100,
    )
    return {path.name: path.read_bytes() for path in target.glob("*.whl")}


def copy_of(checkout: Path, target: Path) -> Path:
    """Copy the files that git knows; their times and modes are those of today."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=checkout, text=True).split("\0")
    for name in filter(None, names):
        if (checkout / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((checkout / name).read_bytes())
            (target / name).chmod(0o600)
    return target


def test_two_builds_in_two_places_are_the_same(tmp_path: Path) -> None:
    elsewhere = copy_of(CHECKOUT, tmp_path / "another place")
    wheels = build(CHECKOUT, tmp_path / "first", umask=0o022)
    assert wheels == build(elsewhere, tmp_path / "second", umask=0o077)
    assert {name.split("-")[0] for name in wheels} == NAMES
    for name in wheels:
        with zipfile.ZipFile(tmp_path / "first" / name) as wheel:
            files = wheel.namelist()
        assert any(file.endswith("/py.typed") for file in files), name
        assert not any("test" in Path(file).parts for file in files)
