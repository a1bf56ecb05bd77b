"""A copy of the module to plan and to change, with the provider the environment names.

deploy/gcp/check says which.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.gcp.offline import gcloud
from deploy.gcp.tests.fake_project import FakeProject

GCP = Path(__file__).parents[1]
VARIABLES = {
    "project": "a-project-of-tests",
    "suffix": "x1",
    "owner_password": "not-the-password",
}

Terraform = Callable[..., subprocess.CompletedProcess[str]]


def copy_module(target: Path) -> Path:
    """Copy what Terraform reads, less where the state is; return the module's folder."""
    module = target / "gcp"
    module.mkdir(parents=True)
    for file in GCP.glob("*.tf"):
        if file.name != "backend.tf":
            shutil.copy(file, module)
    (target / "provision").mkdir()
    shutil.copy(GCP.parent / "provision" / "bootstrap", target / "provision")
    return module


@pytest.fixture(scope="session")
def terraform() -> Terraform:
    """Run Terraform in a folder, the module's variables in the environment; return its output."""

    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        variables = {f"TF_VAR_{name}": value for name, value in VARIABLES.items()}
        command = ["terraform", arguments[0], "-no-color", *arguments[1:]]
        environment = {**os.environ, **variables}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def planned(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The plan of an empty project, as Terraform gives it to programs."""
    module = copy_module(tmp_path_factory.mktemp("plan"))
    done = terraform(module, "plan", "-input=false", "-out=plan")
    assert done.returncode == 0, done.stderr
    shown = terraform(module, "show", "-json", "plan")
    assert shown.returncode == 0, shown.stderr
    plan: dict[str, Any] = json.loads(shown.stdout)
    return plan


@pytest.fixture(scope="session")
def programs() -> Iterator[dict[str, str]]:
    """The texts of the programs that stand in for Google's, with their server."""
    with gcloud.served() as texts:
        yield texts


@pytest.fixture
def fake_project(tmp_path: Path, programs: dict[str, str]) -> FakeProject:
    return FakeProject(tmp_path, programs)
