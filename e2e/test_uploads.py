"""Uploads, each answer held to the document: files that become tasks, alone and in batches."""

import uuid
from collections.abc import Callable

from blackbox.client import Api
from blackbox.contract import Contract

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}


def create(api: Api, length: int) -> str:
    """Begin an upload and return its path."""
    answer = api.call("POST", "/uploads", headers={**TUS, "Upload-Length": str(length)})
    assert answer.status_code == 201
    assert answer.headers["Upload-Offset"] == "0"
    return answer.headers["Location"]


def append(api: Api, path: str, offset: int, data: bytes) -> tuple[int, str | None]:
    """Send bytes, and return the status and the offset that is answered."""
    headers = {**BYTES, "Upload-Offset": str(offset)}
    answer = api.call("PATCH", path, headers=headers, data=data)
    return answer.status_code, answer.headers.get("Upload-Offset")


def test_upload_by_hand(sign_up: Callable[[], Api]) -> None:
    api = sign_up()
    path = create(api, 5)
    assert append(api, path, 0, b"123") == (204, "3")
    assert append(api, path, 0, b"123") == (409, "3")
    assert append(api, path, 3, b"456") == (413, "3")
    (listed,) = api.get("/uploads").json()
    assert (listed["offset_bytes"], listed["link"]) == (3, path)
    assert api.get("/uploads?max=0").status_code == 400
    assert api.post("/tasks", {"upload_id": listed["upload_id"]}).status_code == 409
    assert api.call("DELETE", path).status_code == 412
    assert api.call("DELETE", path, headers=TUS).status_code == 204
    assert api.call("DELETE", path, headers=TUS).status_code == 410


def test_batch_of_a_link_and_an_upload(sign_up: Callable[[], Api], contract: Contract) -> None:
    api = sign_up()
    path = create(api, 5)
    assert append(api, path, 0, b"12345") == (204, "5")
    items = [
        {"url": "https://media.example.com/a.mp4", "start": "manual"},
        {"upload_id": path.rpartition("/")[2]},
    ]
    contract.validate("#/components/schemas/NewBatch", {"items": items}, "the batch")
    answer = api.post("/batches", {"items": items})
    assert answer.status_code == 202
    _, task_id = answer.json()["task_ids"]
    assert api.task(task_id)["url"] == f"upload:{items[1]['upload_id']}"
    assert api.call("DELETE", path, headers=TUS).status_code == 409
    assert api.delete(answer.json()["link"]).status_code in (200, 202)


def test_unknown_upload(api: Api) -> None:
    assert append(api, f"/uploads/{uuid.uuid4()}", 0, b"1") == (404, None)
