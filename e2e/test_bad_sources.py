"""Sources that are not what their link promises, and sites that misbehave."""

from collections.abc import Callable
from pathlib import Path

import pytest
from blackbox.client import Api, Task

from idrl_testing import samples, site as web_site
from idrl_testing.site import Site

HTML = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
)
PNG = ("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1")

Serve = Callable[[Site, Path], str]


def audio_only(site: Site, folder: Path) -> str:
    return site.add(
        "song.mp4",
        samples.encode(folder / "song.m4a", *samples.tone(2), "-c:a", "aac", "-f", "mp4"),
    )


def cover_only(site: Site, folder: Path) -> str:
    samples.encode(folder / "cover.png", *PNG)
    cover = ["-i", str(folder / "cover.png"), "-map", "0:a", "-map", "1:v", "-c:v", "copy"]
    album = ["-c:a", "aac", "-disposition:v:0", "attached_pic"]
    return site.add(
        "album.mp4", samples.encode(folder / "album.mp4", *samples.tone(2), *cover, *album)
    )


def truncated(site: Site, folder: Path) -> str:
    video = samples.encode(
        folder / "whole.mp4",
        *samples.picture("320x180", 4),
        *samples.FAST,
        "-movflags",
        "+faststart",
    )
    return site.add("truncated.mp4", video[: len(video) // 2])


def without_its_end(site: Site, folder: Path) -> str:
    video = samples.encode(folder / "late.mp4", *samples.picture("320x180", 4), *samples.FAST)
    return site.add("without-its-end.mp4", video[: len(video) // 2])


def picture(site: Site, folder: Path) -> str:
    return site.add("picture.mp4", samples.encode(folder / "picture.png", *PNG))


def playlist(site: Site, folder: Path) -> str:
    canary = site.add(
        "canary.ts",
        samples.encode(folder / "canary.ts", *samples.picture("320x180", 2), *samples.FAST),
    )
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2,", canary, "#EXT-X-ENDLIST"]
    return site.add("playlist.mp4", "\n".join(lines).encode())


def file_list(site: Site, _: Path) -> str:
    return site.add("list.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n")


def loop(site: Site, _: Path) -> str:
    return site.add("loop.mp4", answer=web_site.redirects(f"{site.url}/loop.mp4"))


def redirect_to(target: str, name: str) -> Serve:
    return lambda site, _: site.add(name, answer=web_site.redirects(target))


def page(name: str, body: bytes) -> Serve:
    return lambda site, _: site.add(name, body)


def status(code: int) -> Serve:
    return lambda site, _: site.add(f"{code}.mp4", answer=web_site.fails(code))


BAD: dict[str, tuple[Serve, str]] = {
    "404": (status(404), "source_not_found"),
    "410": (status(410), "source_not_found"),
    "403": (status(403), "source_refused"),
    "500": (status(500), "source_unavailable"),
    "html": (page("page.mp4", HTML), "source_is_a_web_page"),
    "text": (page("text.mp4", b"just text\n" * 1000), "source_not_a_video"),
    "noise": (page("noise.mp4", bytes(range(7, 256)) * 400), "source_not_a_video"),
    "empty": (page("empty.mp4", b""), "source_empty"),
    "picture": (picture, "source_not_a_video"),
    "playlist": (playlist, "source_not_a_video"),
    "file list": (file_list, "source_not_a_video"),
    "only sound": (audio_only, "source_has_no_video"),
    "only a cover": (cover_only, "source_has_no_video"),
    "truncated": (truncated, "source_damaged"),
    "without its end": (without_its_end, "source_damaged"),
    "redirect loop": (loop, "too_many_redirects"),
    "redirect to a private address": (
        redirect_to("http://10.0.0.1/a.mp4", "private.mp4"),
        "url_private_address",
    ),
    "redirect to metadata": (
        redirect_to("http://169.254.169.254/", "metadata.mp4"),
        "url_private_address",
    ),
    "redirect to a file": (redirect_to("file:///etc/passwd", "file.mp4"), "url_scheme_not_allowed"),
}


@pytest.fixture(scope="module")
def ended(api: Api, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Task]:
    """Waits for a bad source's task; all are posted at the start, and worked on in parallel."""
    folder = tmp_path_factory.mktemp("bad")
    ids = {name: api.submit(serve(site, folder))["task_id"] for name, (serve, _) in BAD.items()}
    return lambda name: api.finish(ids[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_source(ended: Callable[[str], Task], name: str) -> None:
    task = ended(name)
    assert task["status"] == "failed"
    assert task["error"]["code"] == BAD[name][1]
    assert task["error"]["message"].endswith(".")
    assert task["finished_at"] is not None
    assert (task["parts"], task["parts_done"]) == ([], 0)


@pytest.mark.parametrize("code", [500, 503, 429])
def test_source_that_is_unavailable_is_waited_for(api: Api, site: Site, code: int) -> None:
    task_id = api.submit(status(code)(site, Path()))["task_id"]
    task = api.wait_for(task_id, lambda each: each["waiting_for"] is not None)
    assert (task["status"], task["error"]) == ("queued", None)
    assert task["waiting_for"] == "source_unavailable"
    assert task["waiting_until"] > task["created_at"]
    events = api.get(f"/tasks/{task_id}/events").json()
    assert [event["kind"] for event in events[:3]] == ["accepted", "claimed", "retried"]
    assert events[2]["code"] == "source_unavailable"
    api.delete(f"/tasks/{task_id}")
    assert api.finish(task_id)["status"] == "canceled"


def test_failed_task_is_retried_and_ends(api: Api, site: Site, short_video: bytes) -> None:
    url = site.add("later.mp4", answer=web_site.fails(404))
    task_id = api.submit(url)["task_id"]
    assert api.finish(task_id)["error"]["code"] == "source_not_found"
    site.add("later.mp4", short_video)
    retried = api.call("POST", f"/tasks/{task_id}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "queued")
    assert api.finish(task_id)["status"] == "done"
    again = api.call("POST", f"/tasks/{task_id}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "not_failed")
    kinds = [event["kind"] for event in api.get(f"/tasks/{task_id}/events").json()]
    assert kinds[-1] == "task_done"
    assert "retry_requested" in kinds


def test_playlist_is_not_followed(ended: Callable[[str], Task], site: Site) -> None:
    ended("playlist")
    assert site.hits["/canary.ts"] == 0


def test_refusals_are_not_repeated(ended: Callable[[str], Task], site: Site) -> None:
    for name in ("404", "410", "403"):
        ended(name)
        assert site.hits[f"/{name}.mp4"] == 1


@pytest.mark.parametrize(
    ("name", "answer"),
    [("fails-once.mp4", web_site.fails_once), ("breaks-off.mp4", web_site.breaks_off_once)],
)
def test_site_that_recovers(
    api: Api, site: Site, short_video: bytes, name: str, answer: Callable[[web_site.Request], None]
) -> None:
    task = api.finish(api.submit(site.add(name, short_video, answer))["task_id"])
    assert task["status"] == "done", task["error"]
    assert task["source"]["size_bytes"] == len(short_video)
    assert site.hits[f"/{name}"] == 2


@pytest.mark.parametrize(
    "name", ["%C3%A1rbol%20%F0%9F%8C%B3.mp4", "..%2F..%2Fetc%2Fpasswd", "-i.mp4", "a;rm%20-rf.mp4"]
)
def test_name_of_the_url_decides_nothing(
    api: Api, site: Site, short_video: bytes, name: str
) -> None:
    task = api.finish(api.submit(site.add(name, short_video))["task_id"])
    assert task["status"] == "done", task["error"]
    assert len(task["parts"]) == 1
