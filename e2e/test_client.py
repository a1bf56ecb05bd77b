"""The command `idrl` against the running system; IDRL_PROGRAM is what to test."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blackbox.client import Api
from PIL import Image

from idrl_testing.site import Site
from idrl_testing.waiting import wait_until

COMMAND = (
    [os.environ["IDRL_PROGRAM"]]
    if "IDRL_PROGRAM" in os.environ
    else [sys.executable, "-m", "idrl_client"]
)


@pytest.fixture(scope="module")
def caller(sign_up: Callable[[], Api]) -> Api:
    return sign_up()


@pytest.fixture
def environment(caller: Api, tmp_path: Path) -> dict[str, str]:
    """What the command sees: its own account, a folder for its settings, no keyring."""
    return {
        **os.environ,
        "IDRL_URL": caller.base_url,
        "IDRL_KEY": str(caller.token),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def idrl(arguments: Sequence[str], environment: dict[str, str], given: str = "") -> Any:  # noqa: ANN401 # passed on
    """Run a command that must succeed, and return the document that it prints."""
    done = subprocess.run(
        [*COMMAND, *arguments, "--json"],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(
    arguments: Sequence[str], environment: dict[str, str], given: str = ""
) -> tuple[int, str]:
    """Run a command that must fail, and return its exit code and the line that it prints."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def clips_in(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return each clip with its inode and time: both change if it is written again."""
    file_stats = {path: path.stat() for path in folder.glob("*/part-*.mp4")}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in file_stats.items()}


def test_clips_of_three_links_are_there_once_after_a_kill(
    caller: Api, environment: dict[str, str], site: Site, short_video: bytes, tmp_path: Path
) -> None:
    folder, run = tmp_path / "clips of today", uuid.uuid4().hex
    links = [site.add(f"{run}-{number}.mp4", short_video) for number in range(3)]
    order = ["clip", *links, "-o", str(folder), "--aspect", "1:1"]
    with subprocess.Popen(
        [*COMMAND, *order], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: clips_in(folder) or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
    before = clips_in(folder)
    jobs = idrl(order, environment)
    tasks = {task["task_id"]: task for task in caller.get(f"/tasks?q={run}").json()}
    assert sorted(task["url"] for task in tasks.values()) == links
    assert {job["task_id"] for job in jobs} == set(tasks)
    after = clips_in(folder)
    assert len(after) == 3
    assert before.items() <= after.items()
    for job in jobs:
        (part,) = caller.task(job["task_id"])["parts"]
        (clip,) = Path(job["folder"]).glob("*.mp4")
        assert hashlib.sha256(clip.read_bytes()).hexdigest() == part["sha256"]
    assert idrl(order, environment) == jobs
    assert clips_in(folder) == after


def test_log_in_makes_a_key_that_later_commands_use(
    anonymous: Api, environment: dict[str, str], new_account: Callable[[], Any]
) -> None:
    account = new_account()
    assert anonymous.post("/auth/signup", account.form()).status_code == 201
    del environment["IDRL_KEY"]
    order = ["login", anonymous.base_url, "--email", account.email, "--no-keyring"]
    completed = idrl(order, environment, given=f"{account.password}\n")
    assert completed["username"] == account.username
    assert idrl(["usage"], environment)["live_tasks"] == 0
    assert idrl(["ls"], environment) == []


def test_password_is_sent_as_it_was_typed(
    anonymous: Api, environment: dict[str, str], new_account: Callable[[], Any]
) -> None:
    """With the blanks at its ends; a wrong one gets no answer but that it is wrong."""
    account = replace(new_account(), password=" Fly-high-7 ")
    assert anonymous.post("/auth/signup", account.form()).status_code == 201
    del environment["IDRL_KEY"]
    order = ["login", anonymous.base_url, "--email", account.email, "--no-keyring"]
    assert idrl(order, environment, given=" Fly-high-7 \n")["username"] == account.username
    code, line = refused(order, environment, given="Fly-high-7\n")
    assert (code, line) == (3, "idrl: The email or the password is wrong. (bad_credentials)")


def test_life_of_a_failed_task(caller: Api, environment: dict[str, str], site: Site) -> None:
    link = f"{site.url}/{uuid.uuid4().hex}.mp4"
    done = subprocess.run(
        [*COMMAND, "clip", link, "--wait"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "(source_not_found)" in done.stderr
    (task,) = idrl(["ls", "--status", "failed"], environment)
    assert (task["url"], idrl(["show", task["task_id"]], environment)["parts"]) == (link, [])
    (retried,) = idrl(["retry", task["task_id"]], environment)
    assert retried["task_id"] == task["task_id"]
    caller.finish(task["task_id"])
    assert idrl(["rm", task["task_id"]], environment)[0]["status"] == "deleted"
    assert idrl(["ls"], environment, "") == [
        each for each in caller.get("/tasks").json() if each["task_id"] != task["task_id"]
    ]


def _has_sent_bytes(caller: Api) -> bool:
    """Return whether the client has an upload's id, and so notes it: it has sent a piece to it."""
    return any(upload["offset_bytes"] for upload in caller.get("/uploads").json())


def test_file_is_uploaded_once_and_arrives_whole(
    caller: Api, environment: dict[str, str], short_video: bytes, tmp_path: Path
) -> None:
    """Killed in the middle of the upload, and run again."""
    source, folder = tmp_path / "my video.mp4", tmp_path / "out"
    # A free box after the video: large enough to be sent in several pieces.
    padding = 40 * 1024 * 1024
    source.write_bytes(short_video + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8))
    order = ["clip", str(source), "-o", str(folder)]
    with subprocess.Popen(
        [*COMMAND, *order], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: _has_sent_bytes(caller) or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
    begun = caller.get("/uploads").json()
    done = subprocess.run([*COMMAND, *order], env=environment, capture_output=True, check=True)
    shares = re.findall(rb"uploading my video.mp4: (\d+) %", done.stderr)
    assert [int(share) for share in shares] == sorted({int(share) for share in shares})
    is_left = any(each["offset_bytes"] < each["length_bytes"] for each in begun)
    assert shares or not is_left
    (job,) = idrl(order, environment)
    assert [job] == idrl(order, environment)
    (task,) = (each for each in caller.get("/tasks").json() if each["task_id"] == job["task_id"])
    assert (task["name"], task["status"]) == ("my video.mp4", "done")
    assert task["source"]["size_bytes"] == source.stat().st_size
    assert [f"upload:{each['upload_id']}" for each in begun] in ([], [task["url"]])
    assert caller.get("/uploads").json() == []
    assert len(clips_in(folder)) == 1


def _picture(path: Path, colour: tuple[int, ...]) -> str:
    Image.new("RGBA", (64, 32), colour).save(path)
    return str(path)


def test_life_of_a_brand(
    caller: Api, environment: dict[str, str], site: Site, short_video: bytes, tmp_path: Path
) -> None:
    card, logo = (
        _picture(tmp_path / f"{name}.png", colour)
        for name, colour in (("my card", (220, 30, 30, 255)), ("logo", (20, 160, 60, 128)))
    )
    files = ["--before", card, "--watermark", logo, "--before-seconds", "0.4"]
    style = ["--place", "top-left", "--width", "0.1", "--opacity", "0.5", "--background", "#204060"]
    brand = idrl(["brands", "add", "Race day", *files, *style, "--default"], environment)
    assert brand["before"] == {"kind": "image", "duration_s": 0.4, "width": 64, "height": 32}
    assert (brand["after"], brand["background"]) == (None, "#204060")
    assert {name: brand["watermark"][name] for name in ("place", "width_share", "opacity")} == {
        "place": "top-left",
        "width_share": 0.1,
        "opacity": 0.5,
    }
    chosen = {"brand_id": brand["brand_id"]}
    assert idrl(["brands", "default"], environment) == chosen
    assert idrl(["brands", "default", "none"], environment) == {"brand_id": "none"}
    assert caller.get("/brands").json() == idrl(["brands", "ls"], environment) == [brand]
    preview = tmp_path / "preview.jpg"
    shown = ["brands", "show", "Race day", "--aspect", "9:16", "--preview", str(preview)]
    assert idrl(shown, environment) == brand
    with Image.open(preview) as picture:
        assert picture.format == "JPEG"
    link = site.add(f"{uuid.uuid4().hex}.mp4", short_video)
    (job,) = idrl(["clip", link, "--brand", "Race day"], environment)
    assert caller.task(job["task_id"])["edit"]["brand_id"] == brand["brand_id"]
    assert idrl(["brands", "rm", "Race day"], environment) == [{**chosen, "status": "deleted"}]
    assert caller.get("/brands").json() == []
    idrl(["rm", job["task_id"]], environment)


def test_brands_that_are_refused(environment: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(_picture(tmp_path / "whole.png", (0, 0, 0, 0))).read_bytes()[:40])
    code, line = refused(["brands", "add", "Race", "--before", str(broken)], environment)
    assert (code, "(brand_file_broken)" in line) == (6, True)
    code, line = refused(["brands", "add", "Race", "--background", "blue"], environment)
    assert (code, "background: " in line, "(invalid_body)" in line) == (6, True, True)
    for arguments in (["show", "No such"], ["rm", str(uuid.uuid4())], ["default", "No such"]):
        assert refused(["brands", *arguments], environment)[0] == 4
    ids = [idrl(["brands", "add", "Twice"], environment)["brand_id"] for _ in range(2)]
    code, line = refused(["brands", "show", "Twice"], environment)
    assert (code, "2 brands have the name Twice" in line) == (2, True)
    assert {each["status"] for each in idrl(["brands", "rm", *ids], environment)} == {"deleted"}


def test_plan_is_shown_and_then_made(
    caller: Api, environment: dict[str, str], site: Site, short_video: bytes, tmp_path: Path
) -> None:
    link, folder = site.add(f"{uuid.uuid4().hex}.mp4", short_video), tmp_path / "out"
    order = ["clip", link, "-o", str(folder), "--cut", "keyframe"]
    (planned,) = idrl([*order, "--plan"], environment)
    assert (planned["status"], planned["plan"]["edit"]["cut"]) == ("planned", "keyframe")
    assert [(part["start_s"], part["end_s"]) for part in planned["plan"]["parts"]] == [(0, 2)]
    assert clips_in(folder) == {}
    (again,) = idrl([*order, "--plan"], environment)
    assert again["task_id"] == planned["task_id"]
    (made,) = idrl(order, environment)
    assert (made["task_id"], made["status"]) == (planned["task_id"], "done")
    assert len(clips_in(folder)) == 1
    (other,) = idrl(["clip", link, "--plan"], environment)
    (started,) = idrl(["start", other["task_id"]], environment)
    assert started["task_id"] == other["task_id"] != planned["task_id"]
    assert caller.finish(other["task_id"])["status"] == "done"
