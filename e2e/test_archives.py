"""Clips taken away as a whole: the ZIP, cut and resumed, against what the task says of each."""

import hashlib
import io
import zipfile
from pathlib import Path

import requests
from blackbox.client import Api

from idrl_testing import samples
from idrl_testing.site import Site


def test_zip_arrives_whole_when_resumed(api: Api, site: Site, tmp_path: Path) -> None:
    made = samples.encode(tmp_path / "source.mp4", *samples.picture("320x180", 5), *samples.FAST)
    url = site.add("parts.mp4", made)
    body = {"url": url, "name": "Läufe: 1/2.mp4", "edit": {"part_seconds": 2}}
    task = api.finish(api.post("/tasks", body).json()["task_id"])
    assert (task["status"], task["parts_done"]) == ("done", 3), task["error"]
    path = f"{task['link']}/clips.zip"
    head = api.call("HEAD", path)
    size, tag = int(head.headers["Content-Length"]), head.headers["ETag"]
    pieces = []
    for start in range(0, size, size // 3 + 1):
        end = min(start + size // 3, size - 1)
        headers = {"Range": f"bytes={start}-{end}", "If-Range": tag}
        piece = api.call("GET", path, headers=headers)
        assert piece.status_code == 206
        pieces.append(piece.content)
    whole = api.get(path)
    assert (whole.status_code, whole.content) == (200, b"".join(pieces))
    manifest = api.get(f"{task['link']}/manifest.json").json()
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "Läufe_ 1_2 01 00m00s-00m02s.mp4"
        digests = [
            hashlib.sha256(archive.read(part["file"])).hexdigest() for part in manifest["parts"]
        ]
    assert digests == [part["sha256"] for part in task["parts"]]
    assert api.call("GET", path, headers={"If-None-Match": tag}).status_code == 304
    assert api.call("GET", path, headers={"Range": "bytes=0-1,5-9"}).content == whole.content
    beyond = api.call("GET", path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    stale = api.call("GET", path, headers={"If-Match": '"stale"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")


def test_zip_of_a_batch(api: Api, site: Site, short_video: bytes) -> None:
    url = site.add("short.mp4", short_video)
    batch = api.post("/batches", {"items": [{"url": url, "name": n} for n in "ab"]}).json()
    assert api.get(f"{batch['link']}/clips.zip").status_code in (200, 409)
    for task_id in batch["task_ids"]:
        assert api.finish(task_id)["status"] == "done"
    archive = zipfile.ZipFile(io.BytesIO(api.get(f"{batch['link']}/clips.zip").content))
    assert archive.testzip() is None
    assert {name.partition("/")[0] for name in archive.namelist()} == {"1 a", "2 b"}


def test_zip_of_chosen_tasks(api: Api, site: Site, short_video: bytes) -> None:
    url = site.add("short.mp4", short_video)
    tasks = [
        api.finish(api.post("/tasks", {"url": url, "name": n}).json()["task_id"]) for n in "ab"
    ]
    ids = ",".join(task["task_id"] for task in tasks)
    archive = zipfile.ZipFile(io.BytesIO(api.get(f"/tasks/clips.zip?task_id={ids}").content))
    digests = {
        (name.partition("/")[0], hashlib.sha256(archive.read(name)).hexdigest())
        for name in archive.namelist()
        if name.endswith(".mp4")
    }
    assert digests == {
        (f"{number} {task['name']}", part["sha256"])
        for number, task in enumerate(tasks, 1)
        for part in task["parts"]
    }


def test_zip_needs_its_owner(api: Api, anonymous: Api, site: Site, short_video: bytes) -> None:
    link = api.post("/tasks", {"url": site.add("short.mp4", short_video)}).json()["link"]
    response: requests.Response = anonymous.get(f"{link}/clips.zip")
    assert (response.status_code, response.json()["code"]) == (401, "token_missing")
    api.delete(link)
