"""The images: small, without what they do not need, and they know which commit they are."""

import json
import subprocess

import pytest
from harness.engine import Engine
from harness.images import MIGRATE, WEB, WORKER
from harness.stack import CHECKOUT

pytestmark = pytest.mark.usefixtures("images")

MB = 1_000_000
OWN = (WEB, WORKER, MIGRATE)


def inside(engine: Engine, image: str, *command: str) -> str:
    """Return what a command prints in a fresh container of the image."""
    return engine.docker(
        "run",
        "--rm",
        "--read-only",
        "--tmpfs=/tmp:mode=1777",  # as the compose files have it
        "--network=none",
        "--entrypoint",
        command[0],
        image,
        *command[1:],
    )


def installed(engine: Engine, image: str) -> set[str]:
    script = "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    return set(inside(engine, image, "/app/bin/python", "-c", script).split())


@pytest.mark.parametrize(("image", "limit_mb"), [(WEB, 200), (WORKER, 600)])
def test_size(engine: Engine, image: str, limit_mb: int) -> None:
    size_bytes = int(engine.docker("image", "inspect", "-f", "{{.Size}}", image))
    print(f"{image}: {size_bytes / MB:.0f} MB")  # noqa: T201 # the figure is the result
    assert size_bytes <= limit_mb * MB


def test_web_has_nothing_of_the_workers(engine: Engine) -> None:
    names = installed(engine, WEB)
    assert {"web-server", "idrl-common", "flask"} <= names
    assert not {"worker-server", "celery", "moviepy", "imageio-ffmpeg", "av", "redis"} & names


def test_worker_has_what_it_needs(engine: Engine) -> None:
    names = installed(engine, WORKER)
    assert {"worker-server", "celery", "moviepy", "imageio-ffmpeg"} <= names
    assert "web-server" not in names


@pytest.mark.parametrize("image", OWN)
def test_image_has_no_build_tools(engine: Engine, image: str) -> None:
    tools = inside(
        engine,
        image,
        "sh",
        "-c",
        "for name in gcc cc g++ make ld uv git; do command -v $name; done; true",
    )
    assert tools == ""
    caches = (
        "find / -xdev -type d \\( -path '*/.cache/pip' -o -path '*/.cache/uv'"
        " -o -path /src -o -path /tools \\) 2>&1"
    )
    assert inside(engine, image, "sh", "-c", caches + " | grep -v denied; true") == ""


@pytest.mark.parametrize("image", OWN)
def test_user_is_not_root(engine: Engine, image: str) -> None:
    assert inside(engine, image, "id", "-u").strip() == "10001"


@pytest.mark.parametrize("image", [WEB, WORKER])
def test_image_has_health_check_and_stop_signal(engine: Engine, image: str) -> None:
    config = json.loads(engine.docker("image", "inspect", "-f", "{{json .Config}}", image))
    assert config["StopSignal"] == "SIGTERM"
    assert "/health" in str(config["Healthcheck"]["Test"])


@pytest.mark.parametrize(
    ("image", "module"),
    [
        (WEB, "flask"),
        (WORKER, "flask"),
        (WORKER, "moviepy"),
        (WORKER, "worker_server.media.rendering.moviepy_child"),
    ],
)
def test_image_contains_bytecode(engine: Engine, image: str, module: str) -> None:
    """Containers cannot write byte code: without it every start would compile every module."""
    script = (
        "import importlib.util, pathlib, sys;"
        "print(pathlib.Path(importlib.util.find_spec(sys.argv[1]).cached).exists())"
    )
    assert inside(engine, image, "/app/bin/python", "-c", script, module).strip() == "True"


def test_revision_is_the_commit(engine: Engine) -> None:
    commit = inside(engine, WEB, "cat", "/app/revision").strip()
    git_output = subprocess.run(
        ["git", "cat-file", "-t", commit], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert git_output.stdout.strip() == "commit"


def test_the_sandbox_of_the_decoders_holds(engine: Engine) -> None:
    """Escape attempts as a decoder: the image's user, under the engine's own system-call filter."""
    printed = inside(
        engine, WORKER, "/app/bin/python", "-m", "worker_server.media.process.check_sandbox"
    ).splitlines()
    assert len(printed) == 1, printed
    assert printed[0].startswith("sandbox: landlock-")
