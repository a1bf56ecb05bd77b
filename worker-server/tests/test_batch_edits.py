"""What the tasks of a batch are made by: the edit of each item, merged onto the batch's."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from worker_testing import batch_items, post_batch

Auth = Callable[..., dict[str, str]]


def _edits(client: FlaskClient, auth: Auth, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = post_batch(client, auth(), body)
    assert response.status_code == 202, response.get_json()
    ids = response.get_json()["task_ids"]
    return [client.get(f"/tasks/{each}", headers=auth()).get_json()["edit"] for each in ids]


def test_items_edit_takes_the_place_of_the_batchs_field_by_field(
    client: FlaskClient, auth: Auth
) -> None:
    own = [
        None,
        {"fit": "pad"},
        {"aspect": "16:9", "part_seconds": 5},
        {"segments": [{"start_s": 1, "end_s": 2}]},
        {"start_s": None},
    ]
    items = [{**item, "edit": edit} for item, edit in zip(batch_items(5), own, strict=True)]
    edits = _edits(client, auth, {"items": items, "edit": {"aspect": "9:16", "start_s": 3}})
    assert [edit["aspect"] for edit in edits] == ["9:16", "9:16", "16:9", "9:16", "9:16"]
    assert [edit["fit"] for edit in edits] == ["crop", "pad", "crop", "crop", "crop"]
    assert [edit["part_seconds"] for edit in edits] == [20, 20, 5, 20, 20]
    assert [edit["start_s"] for edit in edits] == [3, 3, 3, None, None]
    assert [bool(edit["segments"]) for edit in edits] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("edit", "status", "field"),
    [
        ({"end_s": 5}, 400, "items.1.edit.end_s"),
        ({"part_seconds": 1}, 400, "edit.part_seconds"),
        ("16:9", 400, "edit"),
    ],
)
def test_wrong_edit_of_a_batch_names_its_place(
    client: FlaskClient, auth: Auth, edit: object, status: int, field: str
) -> None:
    items = [{**item} for item in batch_items(3)]
    items[1]["edit"] = {"start_s": 6}
    response = post_batch(client, auth(), {"items": items, "edit": edit})
    assert response.status_code == status
    assert [error["field"] for error in response.get_json()["errors"]] == [field]
    assert client.get("/tasks", headers=auth()).get_json() == []
