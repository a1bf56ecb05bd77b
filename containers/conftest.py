"""The engine, the images, and both ways to deploy: machine by machine, and all on one."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest
from harness import (
    compose_v2 as compose_v2_module,
    engine as engine_module,
    images as images_module,
)
from harness.engine import Engine
from harness.machines import Machines, Secrets, make_secrets
from harness.ports import ONE_MACHINE_PORT
from harness.stack import CHECKOUT, Stack

from idrl_local.config import RATE_LIMITS_OFF
from idrl_testing import site as web_site
from idrl_testing.api_client import RetryingApiClient

RunEndToEnd = Callable[..., None]


def one_machine_variables(engine: Engine, port: int) -> dict[str, str]:
    """Return the settings, without secrets, of the system on one machine."""
    return {
        **RATE_LIMITS_OFF,
        **images_module.VARIABLES,
        "PORT": str(port),
        "FETCH_ALLOW_HOSTS": engine.gateway(),
        "WEBHOOK_ALLOW_HOSTS": engine.gateway(),
        "SOURCE_RETRY_S": "30",  # a source that never answers is given up within a test
    }


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder on the disk that the engine may fill: temporary files may live in memory."""
    path = Path(tempfile.mkdtemp(prefix="idrl-containers-", dir="/var/tmp"))
    # mkdtemp lets only this user in.
    # Containers run as other users and read what lies in here.
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def engine(folder: Path) -> Iterator[Engine]:
    with engine_module.running(folder) as running:
        yield running


@pytest.fixture(scope="session")
def compose_v2(folder: Path) -> tuple[str, ...]:
    """How to call Compose v2."""
    return compose_v2_module.program(engine_module.without_daemon(), folder / "compose-v2")


@pytest.fixture(scope="session")
def images(engine: Engine, folder: Path) -> Iterator[None]:
    """Every image is there, the project's own just built."""
    stand_ins: list[str] = []
    try:
        stand_ins += images_module.provide_bases(engine, folder)
        print(f"no registry: stand-ins for {', '.join(stand_ins)}")  # noqa: T201 # belongs into the report
        images_module.build_own(engine)
        yield
    finally:
        images_module.remove(engine, stand_ins)


@pytest.fixture(scope="session")
def secrets(folder: Path) -> Secrets:
    return make_secrets(folder / "made.env")


@pytest.fixture(scope="module")
def machines(engine: Engine, images: None, folder: Path, secrets: Secrets) -> Iterator[Machines]:  # noqa: ARG001 # built before the stacks start
    """Three machines, each stack on its own network; published ports are the only way across."""
    system = Machines(engine, folder, secrets)
    try:
        system.start()
        yield system
    finally:
        system.remove()


@pytest.fixture(scope="module")
def one_machine(engine: Engine, images: None, folder: Path, secrets: Secrets) -> Iterator[Stack]:  # noqa: ARG001 # as above
    """Everything on one machine, started by the compose file in the checkout's root."""
    stack = Stack(engine, "idrlone", CHECKOUT, folder / "one.env")
    stack.write_env({**secrets, **one_machine_variables(engine, ONE_MACHINE_PORT)})
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def videos(engine: Engine, folder: Path) -> Iterator[str]:
    """A web site with short.mp4 (one part) and long.mp4 (six parts of 5 s, slow to render)."""
    site = folder / "site"
    site.mkdir()
    for name, seconds, size in (("short", 3, "320x180"), ("long", 30, "640x360")):
        picture, sound = (
            f"testsrc2=size={size}:rate=30:duration={seconds}",
            f"sine=duration={seconds}",
        )
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
        command += ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-pix_fmt", "yuv420p"]
        subprocess.run([*command, "-preset", "ultrafast", str(site / f"{name}.mp4")], check=True)
    with web_site.serve(engine.gateway(), folder=site) as running:
        yield running.url


@pytest.fixture(scope="module")
def person(machines: Machines) -> RetryingApiClient:
    """A client with an account on the three machines."""
    return RetryingApiClient.signed_up(machines.url)


@pytest.fixture
def end_to_end(engine: Engine, folder: Path) -> RunEndToEnd:
    """Runs the black-box tests, or the files named, against an address."""

    def run(base_url: str, *names: str) -> None:
        paths = [f"e2e/{name}.py" for name in names] or ["e2e"]
        command = [sys.executable, "-m", "pytest", *paths, "-p", "no:cacheprovider", "--quiet"]
        environment = {
            **os.environ,
            "BASE_URL": base_url,
            "SOURCE_HOST": engine.gateway(),
            "TMPDIR": str(folder),
        }
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
        )
        print(done.stdout[-3000:])  # noqa: T201 # their output is this test's report
        assert done.returncode == 0, done.stdout[-6000:]

    return run
