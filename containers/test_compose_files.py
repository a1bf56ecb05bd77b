"""The compose files: they name what is missing, and each variable is explained."""

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from harness.engine import Engine
from harness.machines import Secrets
from harness.stack import CHECKOUT, refusal

MACHINES = ("psg", "worker-server", "web-server")
REQUIRED = {
    "psg": {"POSTGRES_PASSWORD", "WEB_DB_PASSWORD", "WORKER_DB_PASSWORD"},
    "worker-server": {
        "POSTGRES_HOST",
        "POSTGRES_PASSWORD",
        "JWT_PUBLIC_KEY",
        "REDIS_URL",
        "REDIS_PASSWORD",
    },
    "web-server": {
        "POSTGRES_HOST",
        "POSTGRES_PASSWORD",
        "JWT_PRIVATE_KEY",
        "JWT_PUBLIC_KEY",
        "TASKS_URL",
    },
}
CASES = [(folder, name) for folder, names in REQUIRED.items() for name in sorted(names)]
BUILD_ARGUMENTS = {"PIP_INDEX_URL", "UV_DEFAULT_INDEX", "REVISION"}
# Variables that come from the image, or must not be set at all.
FIXED_BY_THE_IMAGE = {
    "REVISION",
    "OPENAPI_PATH",
    "ACCEL_REDIRECT",
    "CLIP_CACHE_DISK",
    "SCRATCH_FOLDER",
    "PROCESS_FOLDER",
}


def text_of(folder: str) -> str:
    return "".join(path.read_text() for path in sorted((CHECKOUT / folder).glob("*.yml")))


def variables_of(folder: str) -> set[str]:
    """Return the names that the folder's compose files read, those of the build included."""
    text = text_of(folder)
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text)) | {
        name for name in BUILD_ARGUMENTS if f"{name}:\n" in text
    }


def explained_in(example: Path) -> dict[str, str]:
    """Return each variable of an .env.example with the line above it."""
    lines = example.read_text().splitlines()
    pairs = itertools.pairwise(lines)
    matches = ((re.match(r"#?\s?([A-Z_]+)=", line), above) for above, line in pairs)
    return {match[1]: above for match, above in matches if match}


@pytest.mark.parametrize(("folder_name", "name"), CASES)
def test_missing_variable_stops_with_its_name(
    engine: Engine, secrets: Secrets, folder_name: str, name: str
) -> None:
    other_secrets = {key: value for key, value in secrets.items() if key != name}
    assert f"{name} is not set" in refusal(engine, CHECKOUT / folder_name, other_secrets)
    assert not refusal(engine, CHECKOUT / folder_name, secrets)


@pytest.mark.parametrize("name", sorted(set().union(*REQUIRED.values())))
def test_missing_secret_stops_the_single_machine(
    engine: Engine, secrets: Secrets, name: str
) -> None:
    other_secrets = {key: value for key, value in secrets.items() if key != name}
    assert f"{name} is not set" in refusal(engine, CHECKOUT, other_secrets)


@pytest.mark.parametrize("name", MACHINES)
def test_every_variable_is_explained(name: str) -> None:
    explained = explained_in(CHECKOUT / name / ".env.example")
    assert variables_of(name) <= explained.keys()
    assert all(line.startswith("# ") for line in explained.values())


@pytest.mark.parametrize("name", MACHINES)
def test_every_explained_variable_is_passed_on(name: str) -> None:
    explained = explained_in(CHECKOUT / name / ".env.example").keys()
    assert explained - FIXED_BY_THE_IMAGE == variables_of(name) - FIXED_BY_THE_IMAGE


def test_variables_of_the_single_machine_are_those_of_the_machines() -> None:
    explained = set().union(*(explained_in(CHECKOUT / name / ".env.example") for name in MACHINES))
    assert variables_of(".") <= explained


def test_secrets_are_private_and_never_overwritten(secrets: Secrets, folder: Path) -> None:
    assert len(set(secrets.values())) == len(secrets)
    made = folder / "made.env"
    assert made.stat().st_mode & 0o077 == 0
    again = subprocess.run(
        [CHECKOUT / "containers" / "make_env.sh", made], capture_output=True, text=True, check=False
    )
    # `make env && docker compose up` works on the second day too.
    assert again.returncode == 0
    assert "is kept" in again.stdout
    assert secrets["POSTGRES_PASSWORD"] in made.read_text()


@pytest.mark.parametrize("failing", ["awk", "openssl"])
def test_no_secret_is_left_empty(tmp_path: Path, failing: str) -> None:
    """The file would be kept by every later `make env`."""
    program = tmp_path / failing
    real = shutil.which(failing)
    # openssl makes the key pair; then it has no random bytes.
    program.write_text(f'#!/bin/sh\n[ "$1" = genpkey ] || exit 1\nexec {real} "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        [CHECKOUT / "containers" / "make_env.sh", tmp_path / "made.env"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert not (tmp_path / "made.env").exists()


def mounted_paths() -> set[str]:
    """Return what the compose files mount of the checkout, by paths from its root."""
    paths = set()
    for folder in (*MACHINES, "."):
        for file in (CHECKOUT / folder).glob("*.yml"):
            sources = re.findall(r'[\s"](\.\.?/[^:"\s]+):/', file.read_text())
            paths |= {
                str((file.parent / source).resolve().relative_to(CHECKOUT)) for source in sources
            }
    return paths


def test_make_env_opens_what_containers_have_mounted(tmp_path: Path) -> None:
    """A checkout made with umask 077 is closed to the users of the containers."""
    mounted = {*mounted_paths(), "deploy/monitoring"}
    assert {"common/to_json.sed", "web-server/nginx", "worker-server/logo"} <= mounted
    for name in (*mounted, "containers/make_env.sh"):
        source, target = CHECKOUT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    subprocess.run(["chmod", "-R", "go-rwx", tmp_path], check=True)
    done = subprocess.run([tmp_path / "containers" / "make_env.sh"], check=False)
    assert done.returncode == 0
    for name in mounted:
        for path in (tmp_path / name, *(tmp_path / name).rglob("*")):
            assert path.stat().st_mode & 0o004, path
            assert path.is_file() or path.stat().st_mode & 0o001, path
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["web-server", "worker-server"])
def test_modes_of_the_checkout_are_not_those_of_the_image(name: str) -> None:
    *_, last_stage = (CHECKOUT / name / "Dockerfile").read_text().split("\nFROM ")
    copied = re.findall(r"^COPY (?!--from)(.+) /app/$", last_stage, re.MULTILINE)
    for path in " ".join(copied).split():
        assert re.search(rf"chmod \d+ /app/{Path(path).name}\b", last_stage), path


def test_render_worker_sees_the_logo_folder() -> None:
    """A custom logo needs no custom image."""
    services = yaml.safe_load((CHECKOUT / "worker-server" / "services.yml").read_text())["services"]
    source, target, mode = services["worker-render"]["volumes"][0].split(":")
    assert (CHECKOUT / "worker-server" / source).is_dir()
    assert (target, mode) == ("/logo", "ro")
    assert f"{target}/NAME" in (CHECKOUT / "worker-server" / ".env.example").read_text()


@pytest.mark.parametrize("name", ["mine.png", "mine.jpeg"])
def test_logos_of_ones_own_are_no_changes_of_the_checkout(name: str) -> None:
    path = f"worker-server/logo/{name}"
    assert subprocess.run(["git", "check-ignore", path], cwd=CHECKOUT, check=False).returncode == 0
