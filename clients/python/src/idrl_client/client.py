"""The calls of the API that scripts make, typed."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from idrl_client.connection import Connection, DeletedBefore
from idrl_client.documents import document, rows
from idrl_client.errors import LocalFault, NotFound
from idrl_client.models import (
    Account,
    Brand,
    Canceling,
    DefaultBrand,
    Deleted,
    KeyWithSecret,
    NewTask,
    Task,
    TaskWithParts,
    Usage,
)
from idrl_client.uploads import readable_name

ENDED = frozenset({"done", "failed", "canceled"})
_PAGE = 100
# Fields by which a document is recognized as one of idrl.
_OF_TASKS = ("task_id", "status")
_OF_BRANDS = ("brand_id", "name")
_MAX_BRAND_BYTES = 32 * 1024 * 1024


class Client:
    """Calls the API for one account. Every method raises a subclass of IdrlError.

    `key` is an API key from `POST /me/keys`, or a token from `POST /auth/login`.
    """

    def __init__(self, base_url: str, key: str | None = None, *, patience_s: float = 60.0) -> None:
        self.connection = Connection(base_url, key, patience_s=patience_s)

    @classmethod
    def signed_up(cls, base_url: str, username: str, email: str, password: str) -> "Client":
        """Create an account, and return a client with a token that is valid for an hour."""
        body = {"username": username, "email": email, "password": password, "password_2": password}
        Connection(base_url).call("POST", "/auth/signup", is_repeatable=False, json=body)
        return cls.logged_in(base_url, email, password)

    @classmethod
    def logged_in(cls, base_url: str, email: str, password: str) -> "Client":
        """Return a client with a token that is valid for an hour."""
        body = {"email": email, "password": password}
        answer = Connection(base_url).call("POST", "/auth/login", json=body)
        return cls(base_url, str(document(answer, "token")["token"]))

    def account(self) -> Account:
        """Return the account that the key belongs to."""
        return cast("Account", self._get("/me", "username"))

    def create_key(self, name: str) -> KeyWithSecret:
        """Create an API key; only this response contains it."""
        answer = self.connection.call("POST", "/me/keys", is_repeatable=False, json={"name": name})
        return cast("KeyWithSecret", document(answer, "key"))

    def create_task(self, task: NewTask, idempotency_key: str | None = None) -> Task:
        """Submit a video; with the same key again it is the same task, for 24 h."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = self.connection.call(
            *("POST", "/tasks"),
            headers=headers,
            is_repeatable=bool(idempotency_key),
            json=task,
        )
        return cast("Task", document(answer, *_OF_TASKS))

    def tasks(self, limit: int, **filters: str) -> Iterator[Task]:
        """Yield the newest tasks; `filters` are the parameters of `GET /tasks`."""
        path: str | None = "/tasks"
        query: dict[str, Any] = {**filters, "max": min(limit, _PAGE)}
        while path and limit > 0:
            answer = self.connection.call("GET", path, params=query)
            page = cast("list[Task]", rows(answer, *_OF_TASKS))[:limit]
            yield from page
            limit -= len(page)
            path, query = answer.links.get("next", {}).get("url"), {}

    def task(self, task_id: str) -> TaskWithParts:
        """Return a task and its parts."""
        return cast("TaskWithParts", self._get(_path(task_id), *_OF_TASKS))

    def changed_task(self, task_id: str, tag: str) -> tuple[TaskWithParts | None, str]:
        """Return a task and its entity tag; None for the task where it still has this tag."""
        headers = {"If-None-Match": tag} if tag else {}
        answer = self.connection.call("GET", _path(task_id), headers=headers)
        if answer.status_code == HTTPStatus.NOT_MODIFIED:
            return None, tag
        task = cast("TaskWithParts", document(answer, *_OF_TASKS))
        return task, answer.headers.get("ETag", "")

    def delete_task(self, task_id: str) -> Deleted | Canceling:
        """Abort a live task, or delete an ended one with its clips."""
        try:
            answer = self.connection.call("DELETE", _path(task_id))
        except DeletedBefore:
            return {"task_id": task_id, "status": "deleted"}
        return cast("Deleted | Canceling", document(answer, *_OF_TASKS))

    def retry_task(self, task_id: str) -> Task:
        """Try a failed task again; clips that are done stay."""
        answer = self.connection.call("POST", f"{_path(task_id)}/retry", is_repeatable=False)
        return cast("Task", document(answer, *_OF_TASKS))

    def start_task(self, task_id: str) -> TaskWithParts:
        """Start a planned task; a task that was started before stays as it is."""
        answer = self.connection.call("POST", f"{_path(task_id)}/start")
        return cast("TaskWithParts", document(answer, *_OF_TASKS))

    def brands(self) -> list[Brand]:
        """Return the account's brands, the newest first."""
        return cast("list[Brand]", rows(self.connection.call("GET", "/brands"), *_OF_BRANDS))

    def brand(self, brand_id: str) -> Brand:
        """Return a brand."""
        return cast("Brand", self._get(_brand_path(brand_id), *_OF_BRANDS))

    def create_brand(self, name: str, files: Mapping[str, Path], **fields: str | float) -> Brand:
        """Create a brand of the files `before`, `after` and `watermark`, each of them optional.

        `fields` are the other ones of `POST /brands`.
        """
        answer = self.connection.call(
            *("POST", "/brands"),
            is_repeatable=False,
            files={**_as_parts({"name": name, **fields}), **_contents(files)},
        )
        return cast("Brand", document(answer, *_OF_BRANDS))

    def brand_preview(self, brand_id: str, aspect: str) -> bytes:
        """Return a JPEG picture of what a brand looks like."""
        path, query = f"{_brand_path(brand_id)}/preview.jpg", {"aspect": aspect}
        return self.connection.call("GET", path, params=query).content

    def delete_brand(self, brand_id: str) -> None:
        """Remove a brand; clips that have it stay as they are."""
        with suppress(DeletedBefore):
            self.connection.call("DELETE", _brand_path(brand_id))

    def default_brand(self) -> DefaultBrand:
        """Return the brand of tasks that name none."""
        return cast("DefaultBrand", self._get("/brands/default", "brand_id"))

    def set_default_brand(self, brand_id: str) -> DefaultBrand:
        """Choose the brand of later tasks that name none: an id, `built-in` or `none`."""
        body = {"brand_id": brand_id}
        answer = self.connection.call("PUT", "/brands/default", json=body)
        return cast("DefaultBrand", document(answer, "brand_id"))

    def usage(self) -> Usage:
        """Return what the account uses, and its limits."""
        return cast("Usage", self._get("/usage", "live_tasks"))

    def _get(self, path: str, *names: str) -> object:
        return cast("object", document(self.connection.call("GET", path), *names))


def _path(task_id: str) -> str:
    return f"/tasks/{_segment(task_id)}"


def _brand_path(brand_id: str) -> str:
    return f"/brands/{_segment(brand_id)}"


def _segment(identifier: str) -> str:
    """Return the segment of a path; raise NotFound for those that URLs drop (RFC 3986, 5.2.4)."""
    if identifier in {"", ".", ".."}:
        raise NotFound(f"nothing has the id '{identifier}'")
    return quote(identifier, safe="")


def _as_parts(fields: Mapping[str, str | float]) -> dict[str, tuple[None, str]]:
    """Return fields that requests sends as multipart/form-data, also where no file is there."""
    return {field: (None, str(value)) for field, value in fields.items()}


def _contents(files: Mapping[str, Path]) -> dict[str, tuple[str, bytes]]:
    """Return a form's files, read into memory so that they can be sent again to a busy system."""
    left_bytes, contents = _MAX_BRAND_BYTES, {}
    for field, path in files.items():
        try:
            with path.open("rb") as file:
                content = file.read(left_bytes + 1)
        except OSError as error:
            raise LocalFault(f"{path} cannot be read: {error.strerror}") from error
        left_bytes -= len(content)
        if left_bytes < 0:
            raise LocalFault(f"{path} is too large: a brand's files may have 32 MiB together")
        contents[field] = (readable_name(path), content)
    return contents
