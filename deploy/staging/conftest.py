"""One system of real machines for all tests, which run in turn and leave it as it was."""

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import expected
import imageio_ffmpeg
import pytest
from staging import system as system_module
from staging.image import Work
from staging.system import System

from idrl_testing import site as web_site
from idrl_testing.api_client import RetryingApiClient

_STATE = """systemctl --failed --no-legend; docker ps -a --format '{{.Names}} {{.Status}}'
free -m; df -h; uptime
docker ps -aq --filter status=restarting --filter status=exited |
    xargs -rn1 docker logs --tail 20 2>&1"""


@pytest.fixture(scope="session")
def bare_system() -> Iterator[System]:
    """What is around the machines."""
    with system_module.running(Work(Path(os.environ["STAGING_WORK"]))) as system:
        yield system


@pytest.fixture(scope="session")
def system(bare_system: System) -> System:
    """Three machines, set up."""
    bare_system.boot(*expected.MACHINES)
    return bare_system


@pytest.fixture
def person(system: System) -> RetryingApiClient:
    """A client with an account of its own: a session ends after an hour, before these tests do."""
    return RetryingApiClient.signed_up(system.url)


@pytest.fixture(scope="session")
def videos(system: System) -> Iterator[str]:
    """A web site with the videos."""
    site = system.work.folder / "site"
    site.mkdir()
    for name, video in expected.VIDEOS.items():
        picture = f"testsrc2=size={video.size}:rate=30:duration={video.seconds}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", picture]
        command += [
            "-f",
            "lavfi",
            "-i",
            f"sine=duration={video.seconds}",
            "-pix_fmt",
            "yuv420p",
            *video.options,
        ]
        subprocess.run([*command, str(site / f"{name}.mp4")], check=True)
    with web_site.serve(expected.WORLD_GATEWAY, folder=site) as running:
        yield running.url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the machines to a failure."""
    report = yield
    system = getattr(item, "funcargs", {}).get("system")
    if report.failed and isinstance(system, System):
        for vm in system.vms.values():
            report.sections.append((f"state of {vm.name}", vm.output_of(_STATE)))
    return report
