"""The commands of docs/api.md work as they are printed, one after the other."""

import json
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from blackbox.client import Api
from PIL import Image

from idrl_testing.site import Site

_PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Errors end the walk. `planned` takes the place of the lines that the reader repeats until a task
# is planned, the one of the last answer.
_FUNCTIONS = """
curl() { command curl --silent --show-error --fail "$@" | tee answer; }
planned() {
  ID=$(python3 -c 'import json; print(json.load(open("answer"))["task_id"])')
  until command curl -s -H "$AUTH" $API/tasks/$ID | grep -q '"status":"planned"'; do sleep 0.3; done
}
"""


def _walk(video_url: str) -> str:
    # The address of a link is another one each time.
    blocks = [block for block in _BLOCK.findall(_PAGE) if "clips.example.com" not in block]
    text = re.sub(r"https://media\.example\.com/[^\"]*", video_url, "\n".join(blocks))
    return _FUNCTIONS + re.sub(r'^curl .*# until it is "planned".*$', "planned", text, flags=re.M)


@pytest.fixture
def folder(tmp_path: Path, short_video: bytes) -> Path:
    """The files that the commands send."""
    for name in ("talk.mp4", "intro.mp4"):
        (tmp_path / name).write_bytes(short_video)
    for name in ("card.png", "logo.png"):
        Image.new("RGB", (64, 36), "red").save(tmp_path / name)
    return tmp_path


def test_commands_work_as_printed(
    sign_up: Callable[[], Api], site: Site, short_video: bytes, folder: Path
) -> None:
    api = sign_up()
    url = site.add("example.mp4", short_video)
    halves = [{"start_s": 0, "end_s": 1}, {"start_s": 1, "end_s": 2}]
    item = {"url": url, "edit": {"segments": halves}}
    batch = api.post("/batches", {"items": [item, {"url": url}]}).json()
    task_id, other_id = batch["task_ids"]
    assert api.finish(task_id)["parts_done"] == 2
    assert api.finish(other_id)["parts_done"] == 1
    names = {"IDRL_URL": api.base_url, "TOKEN": api.token, "ID": task_id, "OTHER": other_id}
    names |= {"BATCH": batch["batch_id"], "BRAND": "built-in"}
    given = "\n".join(f"{name}='{value}'" for name, value in names.items())
    command = ["bash", "-euxo", "pipefail", "-c", f"{given}\n{_walk(url)}"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "a.zip").read_bytes()[:2] == b"PK"
    with zipfile.ZipFile(folder / "clips.zip") as archive:
        assert len([name for name in archive.namelist() if name.endswith(".mp4")]) == 3


def test_file_sent_by_hand_keeps_a_long_name(
    sign_up: Callable[[], Api], short_video: bytes, tmp_path: Path
) -> None:
    """base64 breaks lines after 76 characters, and a header ends where its line does."""
    name = "interview-with-the-whole-team-after-the-final-race-of-sunday.mp4"
    (tmp_path / name).write_bytes(short_video)
    api = sign_up()
    (block,) = (each for each in _BLOCK.findall(_PAGE) if "Upload-Metadata" in each)
    given = f"API='{api.base_url}' AUTH='Authorization: Bearer {api.token}'"
    script = f"{given}\n{block.replace('talk.mp4', name)}"
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["name"] == name
