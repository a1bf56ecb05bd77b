"""A file that is still being written while it is sent: a recording, or a copy from a card."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idrl_client import Client, LocalFault, Unreachable, clipping
from idrl_client.uploads import upload
from idrl_testing import site as web_site
from idrl_testing.site import Request, Site

VIDEO = b"a video"


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A fake system that takes one upload: the real one cannot be paused between two pieces."""
    arrived = bytearray()

    def send_list(request: Request) -> None:
        request.send(200, json.dumps([{"upload_id": "u", "offset_bytes": len(arrived)}]).encode())

    def create(request: Request) -> None:
        request.send(201, headers={"Location": "/uploads/u"})

    def append(request: Request) -> None:
        arrived.extend(request.rfile.read(int(request.headers["Content-Length"])))
        request.send(204)

    monkeypatch.setattr(Request, "do_POST", create, raising=False)
    monkeypatch.setattr(Request, "do_PATCH", append, raising=False)
    with web_site.serve() as site:
        site.add("uploads", answer=send_list)
        yield site


def writes(path: Path, content: bytes) -> Callable[[object], None]:
    def write(_: object) -> None:
        path.write_bytes(content)

    return write


@pytest.mark.parametrize("content", [VIDEO + b", and more", VIDEO[:3]])
def test_file_that_changes_before_a_piece_is_named(
    system: Site, tmp_path: Path, content: bytes
) -> None:
    """A grown one was refused by the system: `these are too many. (upload_too_large)`."""
    path = tmp_path / "lap.mp4"
    path.write_bytes(VIDEO)
    with pytest.raises(LocalFault, match=rf"lap.mp4 changed .* now {len(content)}\)"):
        upload(Client(system.url, "k").connection, path, None, writes(path, content))


def test_file_that_grows_after_its_last_piece_is_named(system: Site, tmp_path: Path) -> None:
    """Its beginning alone would become clips."""
    path = tmp_path / "lap.mp4"
    path.write_bytes(VIDEO)

    def send_list_and_grow(request: Request) -> None:
        path.write_bytes(VIDEO + b", and more")
        whole = {"upload_id": "u", "offset_bytes": len(VIDEO)}
        request.send(200, json.dumps([whole]).encode())

    system.add("uploads", answer=send_list_and_grow)
    with pytest.raises(LocalFault, match=r"lap.mp4 changed"):
        upload(Client(system.url, "k").connection, path, None)


def test_file_that_stays_is_sent(system: Site, tmp_path: Path) -> None:
    path = tmp_path / "lap.mp4"
    path.write_bytes(VIDEO)
    assert upload(Client(system.url, "k").connection, path, None) == "u"


def test_file_that_is_gone_by_its_turn_does_not_end_the_others(tmp_path: Path) -> None:
    """As of a card that was taken out while the files before it were being sent."""
    sources = [str(tmp_path / "gone.mp4"), "https://media.example.com/talk.mp4"]
    client = Client("http://127.0.0.1:1", "idrl_k")
    jobs = clipping.into_folder(client, sources, {}, tmp_path / "clips", lambda _: None)
    assert [type(job.error) for job in jobs] == [LocalFault, Unreachable]
    assert "gone.mp4 cannot be read" in str(jobs[0].error)
