"""JSON of another service at the address, with status 200: one sentence, whatever the call."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idrl_client import Client, Unreachable
from idrl_client.uploads import find_offset, upload
from idrl_testing import site as web_site
from idrl_testing.site import Request, Site

TASK = "0b8f0000-0000-4000-8000-000000000000"
CALLS: dict[str, Callable[[Client], object]] = {
    "/me": Client.account,
    "/me/keys": lambda client: client.create_key("laptop"),
    "/tasks": lambda client: list(client.tasks(20)),
    f"/tasks/{TASK}": lambda client: client.task(TASK),
    f"/tasks/{TASK}/retry": lambda client: client.retry_task(TASK),
    f"/tasks/{TASK}/start": lambda client: client.start_task(TASK),
    "/brands": Client.brands,
    "/brands/built-in": lambda client: client.brand("built-in"),
    "/brands/default": Client.default_brand,
    "/usage": Client.usage,
    "/uploads": lambda client: find_offset(client.connection, TASK),
}


def _answer_post(request: Request) -> None:
    request.rfile.read(int(request.headers.get("Content-Length", 0)))
    request.do_GET()


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(Request, "do_POST", _answer_post, raising=False)
    with web_site.serve() as site:
        yield site


def _answer(site: Site, path: str, status: int, document: object) -> None:
    body = json.dumps(document).encode()
    site.add(path.lstrip("/"), answer=lambda request: request.send(status, body))


@pytest.mark.parametrize("document", [{"message": "hello"}, [{"id": 1}], [1], "text", None])
@pytest.mark.parametrize("path", CALLS)
def test_other_documents_are_not_taken_for_idrl(other: Site, path: str, document: object) -> None:
    _answer(other, path, 200, document)
    path_of = {"/tasks": "/tasks?max=20"}.get(path, path)
    _answer(other, path_of, 200, document)
    with pytest.raises(Unreachable, match="200 OK, and not as idrl does"):
        CALLS[path](Client(other.url, "k"))


def test_log_in_at_another_service(other: Site) -> None:
    _answer(other, "/auth/login", 200, {"access": "granted"})
    with pytest.raises(Unreachable, match="not as idrl does"):
        Client.logged_in(other.url, "a@a.example", "Fly-high-7")


def test_upload_to_another_service(other: Site, tmp_path: Path) -> None:
    """Its answer has no Location."""
    _answer(other, "/uploads", 200, {"ok": True})
    video = tmp_path / "lap.mp4"
    video.write_bytes(b"video")
    with pytest.raises(Unreachable, match="not as idrl does"):
        upload(Client(other.url, "k").connection, video, None)


@pytest.mark.parametrize("errors", [7, ["wrong"], [7], {"field": "url"}, [{"field": "url"}]])
def test_problems_with_other_lists_of_errors(other: Site, errors: object) -> None:
    _answer(other, "/usage", 422, {"code": "wrong", "detail": "It is wrong.", "errors": errors})
    with pytest.raises(Exception, match=r"^It is wrong\. \(wrong\)$"):
        Client(other.url, "k").usage()
