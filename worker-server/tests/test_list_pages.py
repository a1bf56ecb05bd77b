"""Every list pages alike: `max`, `cursor`, and a `Link` exactly where there is more."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from upload_testing import Uploads

from worker_server.db import transaction
from worker_server.models import Task
from worker_server.queue.events import EventKind, record
from worker_testing import URL, post, problem

Auth = Callable[..., dict[str, str]]
Make = Callable[[FlaskClient, dict[str, str]], str]


def make_uploads(client: FlaskClient, headers: dict[str, str]) -> str:
    for _ in range(5):
        Uploads(client, headers).new(10)
    return "/uploads"


def make_brands(client: FlaskClient, headers: dict[str, str]) -> str:
    for number in range(5):
        data = {"name": f"brand {number}", "background": "#102030"}
        made = client.post(
            "/brands", data=data, headers=headers, content_type="multipart/form-data"
        )
        assert made.status_code == 201, made.get_json()
    return "/brands"


def new_webhook(client: FlaskClient, headers: dict[str, str]) -> str:
    made = client.post("/webhooks", json={"url": URL}, headers=headers)
    assert made.status_code == 201, made.get_json()
    return str(made.get_json()["link"])


def make_webhooks(client: FlaskClient, headers: dict[str, str]) -> str:
    for _ in range(5):
        new_webhook(client, headers)
    return "/webhooks"


def make_deliveries(client: FlaskClient, headers: dict[str, str]) -> str:
    link = new_webhook(client, headers)
    for _ in range(5):
        assert client.post(f"{link}/test", headers=headers).status_code == 202
    return f"{link}/deliveries"


def make_events(client: FlaskClient, headers: dict[str, str]) -> str:
    task_id = post(client, headers).get_json()["task_id"]
    for _ in range(4):  # the first event is "accepted"
        with transaction() as session:
            record(session, uuid.UUID(task_id), EventKind.CLAIMED)
    return f"/tasks/{task_id}/events"


LISTS = pytest.mark.parametrize(
    "make", [make_uploads, make_brands, make_webhooks, make_deliveries, make_events]
)


def pages(client: FlaskClient, headers: dict[str, str], path: str | None) -> list[list[Any]]:
    listed = []
    while path:
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, answer.get_json()
        listed.append(answer.get_json())
        path = answer.headers["Link"].partition(">")[0][1:] if "Link" in answer.headers else None
    return listed


@LISTS
def test_pages_together_equal_the_whole_list(client: FlaskClient, auth: Auth, make: Make) -> None:
    path = make(client, auth())
    whole = client.get(path, headers=auth())
    assert (len(whole.get_json()), "Link" in whole.headers) == (5, False)
    for most, lengths in ((2, [2, 2, 1]), (5, [5]), (4, [4, 1]), (1, [1] * 5)):
        listed = pages(client, auth(), f"{path}?max={most}")
        assert [len(page) for page in listed] == lengths
        assert [row for page in listed for row in page] == whole.get_json()


@LISTS
def test_cursor_is_good_for_its_list_and_owner(client: FlaskClient, auth: Auth, make: Make) -> None:
    path = make(client, auth())
    link = client.get(f"{path}?max=2", headers=auth()).headers["Link"].partition(">")[0][1:]
    assert problem(client.get(f"{link}x", headers=auth())) == (400, "cursor_invalid")
    cursor = link.partition("cursor=")[2]
    assert problem(client.get(f"/tasks?cursor={cursor}", headers=auth())) == (400, "cursor_invalid")
    if path in ("/uploads", "/brands", "/webhooks"):
        assert problem(client.get(link, headers=auth(2))) == (400, "cursor_invalid")
    for query in ("max=0", "max=1001", "max=two", "pages=2"):
        assert problem(client.get(f"{path}?{query}", headers=auth())) == (400, "invalid_query")


def test_rows_that_come_and_go_do_not_shift_the_pages(client: FlaskClient, auth: Auth) -> None:
    path = make_webhooks(client, auth())
    links = [row["link"] for row in client.get(path, headers=auth()).get_json()]
    first = client.get(f"{path}?max=2", headers=auth())
    for link in links[1:3]:
        assert client.delete(link, headers=auth()).status_code == 204
    new_webhook(client, auth())
    rest = pages(client, auth(), first.headers["Link"].partition(">")[0][1:])
    assert [row["link"] for page in rest for row in page] == links[3:]


@pytest.mark.parametrize("zero", ["%0A", "%D9%A0", "%20"])
def test_next_page_is_linked_however_its_path_is_written(
    client: FlaskClient, auth: Auth, zero: str
) -> None:
    """`uuid.UUID` takes blanks, and digits of any script, for the 0 that an id begins with."""
    accepted_id = uuid.UUID(post(client, auth()).get_json()["task_id"])
    task_id = uuid.UUID(int=accepted_id.int % 16**31)
    with transaction() as session:
        session.execute(update(Task).where(Task.id == accepted_id).values(id=task_id))
        for _ in range(4):
            record(session, task_id, EventKind.CLAIMED)
    path = f"/tasks/{zero}{task_id.hex[1:]}/events"
    assert client.get(f"{path}?max=2", headers=auth()).headers["Link"].isascii()
    assert [len(page) for page in pages(client, auth(), f"{path}?max=2")] == [2, 2, 1]
