"""A caller of the API: every answer it gets is held to the contract, and its request id must come back."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed
from urllib3 import Retry

from blackbox.contract import Contract

Task = dict[str, Any]
FINISHED = ("done", "failed", "canceled")
POLL_S = 0.2
# Generous: the machine under test may be small, and busy with other tasks.
FINISH_S = 240.0
REQUEST_S = 60.0


@dataclass(frozen=True)
class Account:
    """What a person signs up with."""

    username: str
    email: str
    password: str = "Analytical1"

    def form(self, **changes: object) -> dict[str, object]:
        """Return the body of a sign-up, with some fields changed."""
        fields = {"username": self.username, "email": self.email}
        return {**fields, "password": self.password, "password_2": self.password, **changes}


class Api:
    """The API at one address, for one caller or, without a token, for nobody in particular."""

    def __init__(self, base_url: str, contract: Contract, token: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.contract = contract
        self.token = token
        self._session = requests.Session()
        self._session.trust_env = False
        # A public system limits how often one address may sign up; the caller waits as it is told to.
        patient = Retry(
            total=30, connect=0, read=0, redirect=0, status_forcelist=[429], allowed_methods=None
        )
        patient.raise_on_status = False
        self._session.mount(self.base_url, HTTPAdapter(max_retries=patient, pool_maxsize=32))

    def call(
        self,
        method: str,
        path: str,
        *,
        request_id: str | None = None,
        is_echoed: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> requests.Response:
        """Make one call and return its answer, checked against the contract. `options` are those of requests.

        The request id must come back, unless `is_echoed` says that this request is refused before its headers are read.
        """
        headers = {"X-Request-Id": request_id or f"e2e-{uuid.uuid4()}"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        headers.update(options.pop("headers", {}))
        response = self._session.request(
            method,
            self.base_url + path,
            headers=headers,
            timeout=REQUEST_S,
            allow_redirects=False,
            **options,
        )
        self.contract.check(response)
        assert (response.headers["X-Request-Id"] == headers["X-Request-Id"]) is is_echoed
        return response

    def get(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 # handed on to requests
        return self.call("GET", path, **options)

    def post(self, path: str, body: object, **options: Any) -> requests.Response:  # noqa: ANN401
        return self.call("POST", path, json=body, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401
        return self.call("DELETE", path, **options)

    def submit(self, url: str, **headers: str) -> Task:
        """Post a URL that must be accepted, and return the new task."""
        response = self.post("/tasks", {"url": url}, headers=headers)
        assert response.status_code == 202, response.text
        task: Task = response.json()
        assert response.headers["Location"] == task["link"] == f"/tasks/{task['task_id']}"
        return task

    def task(self, task_id: str) -> Task:
        """Return a task that must be there."""
        response = self.get(f"/tasks/{task_id}")
        assert response.status_code == 200, response.text
        task: Task = response.json()
        return task

    def wait_for(
        self, task_id: str, reached: Callable[[Task], bool], timeout_s: float = FINISH_S
    ) -> Task:
        """Poll until `reached` says so, and return the task as it is then; a timeout is an error."""
        polling = Retrying(
            wait=wait_fixed(POLL_S),
            stop=stop_after_delay(timeout_s),
            retry=retry_if_result(lambda task: not reached(task)),
        )
        return polling(self.task, task_id)

    def finish(self, task_id: str, timeout_s: float = FINISH_S) -> Task:
        """Wait until nothing more will happen to the task."""
        return self.wait_for(task_id, lambda task: task["status"] in FINISHED, timeout_s)

    def download(self, part: dict[str, Any], **headers: str) -> requests.Response:
        """Ask for the clip of a part."""
        return self.get(part["link"], headers=headers)


def accounts() -> Iterator[Account]:
    """Yield accounts that nobody has had before, however often the tests run against one system."""
    while True:
        name = f"e2e-{uuid.uuid4().hex[:20]}"
        yield Account(name, f"{name}@example.com")
