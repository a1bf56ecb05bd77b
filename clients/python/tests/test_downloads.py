"""Clips arrive whole: cut off, continued, damaged, replaced and already there."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idrl_client import LocalFault, Unreachable
from idrl_client.connection import Connection
from idrl_client.downloads import fetch_part
from idrl_client.models import Part
from idrl_testing import site as web_site
from idrl_testing.site import Request, Site

CLIP = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CLIP).hexdigest()


@pytest.fixture
def system() -> Iterator[Site]:
    with web_site.serve() as site:
        yield site


def part_of(system: Site, answer: Callable[[Request], None] = web_site.whole) -> Part:
    system.add("clip", CLIP, answer)
    return {
        "number": 0,
        "segment": None,
        "name": None,
        "status": "done",
        "progress": 100,
        "start_s": 0,
        "end_s": 20,
        "attempt": 1,
        "size_bytes": len(CLIP),
        "sha256": SHA256,
        "frames": 1,
        "rendered_by": "copy",
        "concealed_frames": 0,
        "link": "/clip",
        "error": None,
    }


def ranges(range_headers: list[str | None]) -> Callable[[Request], None]:
    def note(request: Request) -> None:
        range_headers.append(request.headers.get("Range"))
        web_site.whole(request)

    return note


def send_head(request: Request, status: int, size_bytes: int) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(size_bytes))
    request.end_headers()


def gives_at_most(size_bytes: int) -> Callable[[Request], None]:
    """Answer each request with the missing bytes; close the connection after this many of them."""

    def answer(request: Request) -> None:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=")[:-1])
        send_head(request, 206 if start else 200, len(CLIP) - start)
        request.wfile.write(CLIP[start : start + size_bytes])
        request.close_connection = True

    return answer


def test_download_continues_where_the_connection_broke(system: Site, tmp_path: Path) -> None:
    range_headers: list[str | None] = []

    def broken(request: Request) -> None:
        range_headers.append(request.headers.get("Range"))
        web_site.breaks_off_once(request)

    assert fetch_part(Connection(system.url), part_of(system, broken), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == CLIP
    assert range_headers[0] is None
    assert range_headers[1] is not None
    assert int(range_headers[1].removeprefix("bytes=").removesuffix("-")) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_download_that_breaks_again_and_again_ends_where_it_gets_on(
    system: Site, tmp_path: Path
) -> None:
    part = part_of(system, gives_at_most(400_000))
    assert fetch_part(Connection(system.url), part, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == CLIP
    assert system.hits["/clip"] == 8


def test_download_that_gets_no_further_is_given_up(system: Site, tmp_path: Path) -> None:
    """Each answer begins again: the same bytes twice are no progress."""

    def begins_again(request: Request) -> None:
        send_head(request, 200, len(CLIP))
        request.wfile.write(CLIP[:400_000])
        request.close_connection = True

    with pytest.raises(Unreachable, match="breaks off"):
        fetch_part(Connection(system.url), part_of(system, begins_again), tmp_path / "a.mp4")
    assert system.hits["/clip"] == 6


def test_partial_download_is_resumed(system: Site, tmp_path: Path) -> None:
    range_headers: list[str | None] = []
    (tmp_path / f".a.mp4.{SHA256[:16]}.partial").write_bytes(CLIP[:1_000_000])
    part = part_of(system, ranges(range_headers))
    assert fetch_part(Connection(system.url), part, tmp_path / "a.mp4")
    assert range_headers == ["bytes=1000000-"]
    assert (tmp_path / "a.mp4").read_bytes() == CLIP


@pytest.mark.parametrize("size", [len(CLIP), len(CLIP) + 5, 1_000_000])
def test_corrupt_partial_download_is_discarded(system: Site, tmp_path: Path, size: int) -> None:
    (tmp_path / f".a.mp4.{SHA256[:16]}.partial").write_bytes(bytes(size))
    assert fetch_part(Connection(system.url), part_of(system), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == CLIP


def test_existing_clip_is_not_downloaded_again(system: Site, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(CLIP)
    assert not fetch_part(Connection(system.url), part_of(system), tmp_path / "a.mp4")
    assert system.hits["/clip"] == 0


def test_damaged_file_is_replaced(system: Site, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(CLIP[:-1] + b"!")
    assert fetch_part(Connection(system.url), part_of(system), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == CLIP


def test_clip_that_always_arrives_damaged_is_not_kept(system: Site, tmp_path: Path) -> None:
    part = part_of(system, lambda request: request.send(200, b"!" * len(CLIP)))
    with pytest.raises(LocalFault, match="arrives damaged"):
        fetch_part(Connection(system.url), part, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_partial_file_longer_than_the_clip_is_received_again(system: Site, tmp_path: Path) -> None:
    """Its range would begin after the end: 416, at each repetition of the command."""

    def nothing_after_the_end(request: Request) -> None:
        if request.headers.get("Range"):
            request.send(416)
        else:
            web_site.whole(request)

    part, target = part_of(system, nothing_after_the_end), tmp_path / "part-000.mp4"
    partial = tmp_path / f".part-000.mp4.{SHA256[:16]}.partial"
    partial.write_bytes(CLIP + b"more")
    assert fetch_part(Connection(system.url), part, target)
    assert target.read_bytes() == CLIP
    assert not partial.exists()
