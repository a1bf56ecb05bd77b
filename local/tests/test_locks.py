"""The locks give every supported Python the same versions."""

import re
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from idrl_local.home import CHECKOUT

SUPPORTED = ("3.11", "3.12", "3.13")


def requirements(lock: Path) -> list[Requirement]:
    lines = re.findall(r"^[A-Za-z0-9].*?(?= \\$|$)", lock.read_text(), re.MULTILINE)
    return [Requirement(line) for line in lines]


def versions(lock: Path, python: str) -> dict[str, str]:
    """Return what the lock installs on Linux with the newest patch release of that Python."""
    environment: dict[str, str] = {
        **{key: str(value) for key, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.20",
    }
    return {
        requirement.name: str(requirement.specifier)
        for requirement in requirements(lock)
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


@pytest.mark.parametrize(
    "lock", sorted((CHECKOUT / "locks").glob("*.txt")), ids=lambda path: path.name
)
def test_lock_has_one_set_of_versions_for_every_supported_python(lock: Path) -> None:
    first, *others = (versions(lock, python) for python in SUPPORTED)
    assert first
    # Some Pythons need fewer packages (backports); those they share have one version.
    assert all(
        other[name] == first[name] for other in others for name in other.keys() & first.keys()
    )
