"""PATCH of a task: name, external_id, metadata."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from upload_testing import CONTENT, NAME, Uploads

from worker_testing import post, problem

Auth = Callable[..., dict[str, str]]


def test_patch_changes_what_is_given_alone(client: FlaskClient, auth: Auth) -> None:
    before = post(client, auth()).get_json()
    path = before["link"]
    body = {"name": "Finish", "external_id": "order-1", "metadata": {"day": 2, "tags": ["a"]}}
    changed = client.patch(path, json=body, headers=auth()).get_json()
    assert {name: changed[name] for name in body} == body
    assert client.get(path, headers=auth()).get_json() == changed
    client.patch(path, json={"keep": True}, headers=auth())
    kept = client.get(path, headers=auth()).get_json()
    assert ({name: kept[name] for name in body}, kept["keep"]) == (body, True)


def test_null_removes_labels(client: FlaskClient, auth: Auth) -> None:
    before = post(client, auth()).get_json()
    path = before["link"]
    body = {"name": "Finish", "external_id": "order-1", "metadata": {"day": 2}}
    client.patch(path, json=body, headers=auth())
    nulls = dict.fromkeys(body)
    after = client.patch(path, json=nulls, headers=auth()).get_json()
    assert {name: after[name] for name in body} == {**nulls, "name": before["name"]}


def test_name_that_is_removed_is_found_by_the_default_one(client: FlaskClient, auth: Auth) -> None:
    path = post(client, auth(), "http://example.com/my%20talk.mp4", name="Finish").get_json()[
        "link"
    ]
    assert (
        client.patch(path, json={"name": None}, headers=auth()).get_json()["name"] == "my talk.mp4"
    )
    (listed,) = client.get("/tasks?q=My+Talk", headers=auth()).get_json()
    assert (listed["link"], listed["name"]) == (path, "my talk.mp4")


def test_default_name_of_an_upload_is_its_files(uploads: Uploads) -> None:
    body = {"upload_id": uploads.whole(CONTENT), "name": "Finish"}
    path = uploads.client.post("/tasks", json=body, headers=uploads.headers).get_json()["link"]
    changed = uploads.client.patch(path, json={"name": None}, headers=uploads.headers).get_json()
    assert changed["name"] == NAME


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": 5}, "name"),
        ({"external_id": ""}, "external_id"),
        ({"external_id": "x" * 129}, "external_id"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"x": "y" * 4096}}, "metadata"),
        ({"keep": None}, "keep"),
        ({"url": "http://example.com/other.mp4"}, "url"),
        ({"status": "done"}, "status"),
    ],
)
def test_wrong_field_changes_nothing(
    client: FlaskClient, auth: Auth, body: dict[str, object], field: str
) -> None:
    before = post(client, auth()).get_json()
    response = client.patch(before["link"], json={"keep": True, **body}, headers=auth())
    assert problem(response) == (400, "invalid_body")
    assert [error["field"] for error in response.get_json()["errors"]] == [field]
    after = client.get(before["link"], headers=auth()).get_json()
    assert after == {**before, "parts": []}


def test_task_of_another_owner_is_not_changed(client: FlaskClient, auth: Auth) -> None:
    path = post(client, auth()).get_json()["link"]
    response = client.patch(path, json={"name": "mine"}, headers=auth(2))
    assert problem(response) == (404, "task_not_found")
