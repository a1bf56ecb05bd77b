"""Clips shown as pictures, and shared by links with people who have no account."""

import io
import zipfile
from urllib.parse import urlsplit

import numpy as np
import pytest
from blackbox.client import Api, Task
from PIL import Image

from idrl_testing import samples
from idrl_testing.site import Site


@pytest.fixture(scope="module")
def shared(api: Api, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A task with two parts, whose URL holds a secret."""
    target = tmp_path_factory.mktemp("shared") / "source.mp4"
    made = samples.encode(target, *samples.picture("1280x720", 4), *samples.FAST)
    url = site.add("shared.mp4?signature=hidden", made)
    body = {"url": url, "metadata": {"client": "hidden"}, "edit": {"part_seconds": 2}}
    created = api.post("/tasks", body)
    assert created.status_code == 202
    task = api.finish(created.json()["task_id"])
    assert (task["status"], task["parts_done"]) == ("done", 2), task["error"]
    return task


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def test_posters_and_contact_sheet(api: Api, shared: Task) -> None:
    for part in shared["parts"]:
        answer = api.get(f"{part['link']}/poster.jpg")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert opened(answer.content).size == (640, 360)
        assert np.asarray(opened(answer.content).convert("L")).std() > 20  # no plain background
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert api.call("GET", f"{part['link']}/poster.jpg", headers=tag).status_code == 304
    path = f"{shared['link']}/contact-sheet.jpg"
    answer = api.get(path)
    assert opened(answer.content).width > 2 * 240
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert api.call("GET", path, headers=tag).status_code == 304


def test_link_shows_everything_but_where_it_came_from(
    api: Api, anonymous: Api, shared: Task
) -> None:
    made = api.post(f"{shared['link']}/links", {"expires_in_s": 600})
    assert made.status_code == 201
    url = urlsplit(made.json()["url"])
    assert f"{url.scheme}://{url.netloc}" == api.base_url
    listed = anonymous.get(url.path)
    assert (listed.status_code, listed.headers["Cache-Control"]) == (200, "no-store")
    document = listed.json()
    for part, shown in zip(shared["parts"], document["parts"], strict=True):
        own = api.download(part)
        answer = anonymous.get(shown["link"])
        assert answer.content == own.content
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "private" in answer.headers["Cache-Control"]
        middle = anonymous.call("GET", shown["link"], headers={"Range": "bytes=100-199"})
        assert (middle.status_code, middle.content) == (206, own.content[100:200])
        assert opened(anonymous.get(shown["poster"]).content).size == (640, 360)
    assert anonymous.get(document["contact_sheet"]).status_code == 200
    manifest = anonymous.get(document["manifest"])
    assert [part["number"] for part in manifest.json()["parts"]] == [0, 1]
    archive = anonymous.get(document["clips_zip"])
    with zipfile.ZipFile(io.BytesIO(archive.content)) as zip_file:
        assert zip_file.testzip() is None
        inside = zip_file.read("manifest.json").decode()
        assert len(zip_file.namelist()) == 3
    for text in (listed.text, manifest.text, inside):
        assert "hidden" not in text
    assert "hidden" in api.get(f"{shared['link']}/manifest.json").text


def test_link_of_a_part(api: Api, anonymous: Api, shared: Task) -> None:
    url = api.post(f"{shared['link']}/links", {"part": 1}).json()["url"]
    path = urlsplit(url).path
    assert [part["number"] for part in anonymous.get(path).json()["parts"]] == [1]
    assert anonymous.get(f"{path}/parts/1").status_code == 200
    for other in ("parts/0", "parts/0/poster.jpg", "clips.zip", "manifest.json"):
        answer = anonymous.get(f"{path}/{other}")
        assert (answer.status_code, answer.json()["code"]) == (404, "link_not_found")


def test_links_are_made_by_the_owner_and_end_with_the_task(
    api: Api, anonymous: Api, site: Site, short_video: bytes
) -> None:
    task = api.submit(site.add("short.mp4", short_video))
    link = f"{task['link']}/links"
    assert anonymous.post(link, {}).status_code == 401
    for body, code in (({"expires_in_s": 59}, 400), ({"part": 99}, 404)):
        assert api.post(link, body).status_code == code
    api.finish(task["task_id"])
    path = urlsplit(api.post(link, {}).json()["url"]).path
    token = path.removeprefix("/s/")
    stranger = Api(api.base_url, api.contract, token)
    assert stranger.get("/tasks").status_code == 401
    assert anonymous.get(f"/s/{token[:-9]}").status_code == 404
    assert anonymous.get(path).status_code == 200
    api.delete(task["link"])
    assert anonymous.get(path).status_code == 404
    assert anonymous.get(f"{path}/parts/0").status_code == 404
