"""A tasks service with one task, and links to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask.testing import FlaskClient

if TYPE_CHECKING:
    from conftest import Exchange, TasksStandIn

TASK = "0b8f2f0e-6c1d-4c0a-9f57-3d1c5f6a7b88"
FACTS: dict[str, object] = {"segment": None, "name": None, "start_s": 0, "end_s": 20, "frames": 660}
FACTS |= {"size_bytes": 7, "sha256": "a" * 64}
DOCUMENT = {
    "task_id": TASK,
    "name": "race.mp4",
    "url": "https://example.com/race.mp4?signature=secret",
    "metadata": {"client": "secret"},
    "external_id": "secret",
    "parts": [
        {"number": 0, "status": "done", **FACTS},
        {"number": 1, "status": "done", **FACTS},
        {"number": 2, "status": "waiting", **FACTS},
    ],
}


def with_one_task(tasks: TasksStandIn) -> TasksStandIn:
    """Let the tasks service have the task TASK alone, with the document DOCUMENT."""

    def answer(exchange: Exchange) -> None:
        if exchange.path == f"/tasks/{TASK}":
            return exchange.respond(200, json.dumps(DOCUMENT).encode())
        if exchange.path.startswith(f"/tasks/{TASK}/"):
            return exchange.respond(200, b"bytes", {"Content-Type": "video/mp4"})
        return exchange.respond(404, b"{}", {"Content-Type": "application/problem+json"})

    tasks.answer = answer
    return tasks


def link(client: FlaskClient, headers: dict[str, str], **body: object) -> str:
    """Make a link and return its path."""
    answer = client.post(f"/tasks/{TASK}/links", json=body, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = answer.json  # type: ignore[assignment] # an object
    return str(urlsplit(document["url"]).path)
