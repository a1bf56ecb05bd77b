"""Name, external id and metadata of a task: bounds, defaults, and their way back to the caller."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from upload_testing import Uploads, encoded

from idrl_testing.database import Database
from worker_server.api.labels import default_name
from worker_testing import URL, post, problem

Auth = Callable[..., dict[str, str]]


def _post(client: FlaskClient, auth: Auth, **fields: object) -> Any:  # noqa: ANN401 # JSON
    response = client.post("/tasks", json={"url": URL, **fields}, headers=auth())
    assert response.status_code == 202, response.get_json()
    return response.get_json()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": " \u00a0\u200b"}, "name"),
        ({"name": "\u3164\u2800"}, "name"),
        ({"name": "nul\x00"}, "name"),
        ({"name": 5}, "name"),
        ({"external_id": ""}, "external_id"),
        ({"external_id": "i" * 129}, "external_id"),
        ({"external_id": "a\tb"}, "external_id"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "{}"}, "metadata"),
        ({"metadata": {"nul\x00": 1}}, "metadata"),
        ({"metadata": {"list": [{"deep": "nul\x00"}]}}, "metadata"),
        ({"metadata": {"k": "v" * 4089}}, "metadata"),
        ({"metadata": {"k": "é" * 2045}}, "metadata"),
    ],
)
def test_bad_labels_are_refused(
    client: FlaskClient, auth: Auth, database: Database, fields: dict[str, object], field: str
) -> None:
    response = client.post("/tasks", json={"url": URL, **fields}, headers=auth())
    assert problem(response) == (400, "invalid_body")
    assert [error["field"] for error in response.get_json()["errors"]] == [field]
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]


def test_blank_names_of_changes_and_batches_are_refused(client: FlaskClient, auth: Auth) -> None:
    """A task that shows no name cannot be chosen, nor can its deletion say what goes."""
    link = _post(client, auth)["link"]
    answers = [
        client.patch(link, json={"name": " "}, headers=auth()),
        client.post("/batches", json={"items": [{"url": URL}], "name": "\u2007"}, headers=auth()),
        client.post("/batches", json={"items": [{"url": URL, "name": " "}]}, headers=auth()),
    ]
    codes = [[error["code"] for error in answer.get_json()["errors"]] for answer in answers]
    assert codes == [["string_too_short"]] * 3
    assert _post(client, auth, name=" é ")["name"] == " é "


def _nested(levels: int) -> dict[str, Any]:
    innermost: list[Any] = []
    for _ in range(levels - 2):
        innermost = [innermost]
    return {"k": innermost}


@pytest.mark.parametrize("levels", [101, 150, 190])
def test_metadata_too_deep_to_be_shown_are_refused(
    client: FlaskClient, auth: Auth, levels: int
) -> None:
    link, wrong = _post(client, auth)["link"], {"metadata": _nested(levels)}
    answers = [
        client.post("/tasks", json={"url": URL, **wrong}, headers=auth()),
        client.patch(link, json=wrong, headers=auth()),
        client.post("/batches", json={"items": [{"url": URL, **wrong}]}, headers=auth()),
    ]
    for answer in answers:
        assert answer.status_code == 400
        (error,) = answer.get_json()["errors"]
        assert error["field"].rpartition(".")[2] == "metadata"
        assert error["code"] == "metadata_too_deep"


def test_deepest_metadata_are_shown_everywhere(client: FlaskClient, auth: Auth) -> None:
    """In documents that hold them some levels below their own."""
    labels = {"url": URL, "metadata": _nested(100)}
    batch = client.post("/batches", json={"items": [labels]}, headers=auth()).get_json()
    link = f"/tasks/{batch['task_ids'][0]}"
    for path in (link, "/tasks", "/tasks?q=race", "/tasks?order=0&max=1"):
        answer = client.get(path, headers=auth()).get_json()
        task = answer[0] if isinstance(answer, list) else answer
        assert task["metadata"] == labels["metadata"], path
    manifest = client.get(f"{link}/manifest.json", headers=auth()).get_json()
    assert manifest["metadata"] == labels["metadata"]
    assert problem(client.get(f"{link}/clips.zip", headers=auth())) == (409, "no_clips")


@pytest.mark.parametrize(
    "labels",
    [
        {"name": "n" * 200, "external_id": "i" * 128, "metadata": {"k": "v" * 4088}},
        {"name": "Ziel 🏁 \u202b", "external_id": "é", "metadata": {"é": ["\u2028", None, True]}},
        {"name": "x", "external_id": None, "metadata": {"n": 1e308, "big": 2**70, "b": {"a": 0.1}}},
        {"name": "x", "external_id": "0", "metadata": {}},
    ],
)
def test_labels_come_back_everywhere(
    client: FlaskClient, auth: Auth, labels: dict[str, object]
) -> None:
    created = _post(client, auth, **labels)
    read = client.get(created["link"], headers=auth()).get_json()
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    for document in (created, read, listed):
        assert {key: document[key] for key in labels} == labels
    assert list(read["metadata"] or ()) == list(labels["metadata"])  # type: ignore[call-overload] # JSON


def test_infinite_number_is_refused(client: FlaskClient, auth: Auth) -> None:
    body = f'{{"url": "{URL}", "metadata": {{"n": 1e400}}}}'
    response = client.post("/tasks", data=body, content_type="application/json", headers=auth())
    assert problem(response) == (400, "invalid_body")


def test_without_labels_the_files_name_is_the_name(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    created = _post(client, auth)
    assert created["name"] == "race.mp4"
    assert created["external_id"] is created["metadata"] is None
    database.execute("UPDATE tasks SET name = NULL")  # as an older release stores it
    assert client.get(created["link"], headers=auth()).get_json()["name"] == "race.mp4"
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    assert listed["name"] == "race.mp4"


# Spelled with joiners, without which they are two words, and two emoji.
_PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.mp4"
_ASTRONAUT = "👩\u200d🚀.mp4"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://example.com/a/b%20c.mp4?x=/y.mp4#z", "b c.mp4"),
        ("http://example.com/caf%C3%A9.mp4", "café.mp4"),
        ("http://example.com/broken%C3.mp4", "broken\ufffd.mp4"),
        ("http://example.com/two%0Alines%00.mp4", "two lines .mp4"),
        ("http://example.com/%E2%80%AEtxt.mp4", " txt.mp4"),
        (f"http://example.com/{quote(_PERSIAN)}", _PERSIAN),
        (f"http://example.com/{quote(_ASTRONAUT)}", _ASTRONAUT),
        ("http://example.com/%E2%80%8D", "example.com"),
        ("http://example.com/dir/", "example.com"),
        ("http://example.com/%20%E3%85%A4", "example.com"),
        ("http://example.com", "example.com"),
        ("http://example.com/" + "n" * 300, "n" * 200),
    ],
)
def test_default_name(url: str, name: str) -> None:
    assert default_name(url) == name


def test_key_of_an_older_release_is_known(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    """SHA-256 of `{"url": "http://example.com/race.mp4"}`: 0.1.0's, for this body."""
    key = {"Idempotency-Key": "once"}
    first = post(client, auth(), **key).get_json()["task_id"]
    digest = "096a7631a97da35c82315e19dd3028e434ff9828a971d11f6dc7a1871ff7390d"
    assert database.execute("SELECT idempotency_body_sha256 FROM tasks") == [(digest,)]
    again = client.post("/tasks", json={"url": URL, "name": "race.mp4"}, headers={**auth(), **key})
    assert problem(again) == (422, "idempotency_key_reused")
    assert post(client, auth(), **key).get_json()["task_id"] == first


def test_name_of_a_file_keeps_its_emoji(uploads: Uploads) -> None:
    """Of an astronaut it made a woman and a rocket."""
    metadata = f"filename {encoded(_ASTRONAUT.encode())}"
    assert uploads.create(**{"Upload-Metadata": metadata}).status_code == 201
    [listed] = uploads.client.get("/uploads", headers=uploads.headers).get_json()
    assert listed["name"] == _ASTRONAUT
