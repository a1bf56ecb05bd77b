"""What the probe refuses takes one attempt, leaves nothing behind, and names the source."""

from pathlib import Path

import pytest

from idrl_testing.samples import run_ffmpeg
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.runtime import Runtime
from worker_server.settings import Settings
from worker_testing import expire_leases, files, submit, task_of

pytestmark = pytest.mark.usefixtures("no_wakeups", "app")

PICTURE = "-f lavfi -i testsrc2=s=160x96:r=25:d=4"
SOUND = "-f lavfi -i sine=d=1"
REFUSALS = {
    "no picture": ("s.m4a", f"{SOUND} -c:a aac", 1, "source_has_no_video"),
    "codec": ("s.avi", f"{PICTURE} -c:v zmbv", 1, "source_codec_unsupported"),
    "format": ("s.y4m", f"{PICTURE} -pix_fmt yuv420p", 1, "source_format_unsupported"),
    "cut off": ("s.mkv", f"{PICTURE} -c:v libx264 -preset ultrafast", 0.5, "source_damaged"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_refused_source_takes_one_attempt(
    kind: str, settings: Settings, site: str, site_folder: Path, runtime: Runtime
) -> None:
    name, arguments, kept, code = REFUSALS[kind]
    path = site_folder / f"refused-{kind.replace(' ', '-')}-{name}"
    run_ffmpeg(*arguments.split(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    task_id = submit(f"{site}/{path.name}")
    assert fetch_next(settings, runtime)
    expire_leases()
    assert not fetch_next(settings, runtime)
    task = task_of(task_id)
    assert (task.status, task.error_code, task.attempt) == ("failed", code, 1)
    assert files(settings, task_id) == set()
