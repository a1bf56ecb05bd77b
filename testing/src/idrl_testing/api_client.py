"""A client of the public API, for the suites that see the system from outside."""

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from idrl_testing.waiting import wait_until

Task = dict[str, Any]
FINISHED = frozenset({"done", "failed", "canceled"})
PASSWORD = "Analytical1"  # noqa: S105 # of accounts that tests make
POLL_S = 0.2
# Generous: the machine under test may be small, and busy with other tasks.
FINISH_S = 600.0
REQUEST_S = 60.0
_UNAVAILABLE = frozenset({502, 503, 504})


class _RetryRateLimit(Retry):
    """Waits as 429 says. A 503 with Retry-After is an answer, which a test may be about."""

    RETRY_AFTER_STATUS_CODES = frozenset({429})


@dataclass(frozen=True)
class Account:
    """What a person signs up with."""

    username: str
    email: str
    password: str = PASSWORD

    @classmethod
    def new(cls) -> Self:
        """Return an account that does not exist yet, however often tests run against one system."""
        name = f"test-{uuid.uuid4().hex[:20]}"
        return cls(name, f"{name}@example.com")

    def form(self, **changes: object) -> dict[str, object]:
        """Return the body of a sign-up, with some fields changed."""
        fields = {"username": self.username, "email": self.email}
        return {**fields, "password": self.password, "password_2": self.password, **changes}


class ApiClient:
    """Calls the API at one address for one account or, without a token, for an anonymous caller."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self._session = requests.Session()
        self._session.trust_env = False
        # The one variable that counts: the CA of a system with a private certificate.
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE", True)
        # A public system limits how often one address may sign up; 429 says how long to wait.
        retry = _RetryRateLimit(
            total=30, connect=0, read=0, redirect=0, status_forcelist=[429], allowed_methods=None
        )
        retry.raise_on_status = False
        self._session.mount(self.base_url, HTTPAdapter(max_retries=retry, pool_maxsize=32))

    @classmethod
    def signed_up(cls, base_url: str) -> Self:
        """Return a client for a new account that has logged in."""
        client, account = cls(base_url), Account.new()
        answer = client.post("/auth/signup", account.form())
        assert answer.status_code == 201, answer.text
        credentials = {"email": account.email, "password": account.password}
        answer = client.post("/auth/login", credentials)
        assert answer.status_code == 200, answer.text
        client.token = str(answer.json()["token"])
        return client

    def call(
        self,
        method: str,
        path: str,
        **options: Any,  # noqa: ANN401 # those of requests
    ) -> requests.Response:
        """Make one call and return its response. `options` are those of requests."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers.update(options.pop("headers", {}))
        return self._session.request(
            method,
            self.base_url + path,
            headers=headers,
            timeout=REQUEST_S,
            allow_redirects=False,
            **options,
        )

    def get(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 # as above
        return self.call("GET", path, **options)

    def post(
        self,
        path: str,
        body: object,
        **options: Any,  # noqa: ANN401 # as above
    ) -> requests.Response:
        return self.call("POST", path, json=body, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 # as above
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
        """Poll until `reached` holds and return the task as it is then.

        Fails with the task after `timeout_s`, and as soon as the task has ended otherwise.
        """
        seen: list[Task] = []

        def holds() -> bool:
            task = self.task(task_id)
            seen[:] = [task]
            assert reached(task) or task["status"] not in FINISHED, task
            return reached(task)

        wait_until(holds, timeout_s, poll_s=POLL_S, describe=lambda: seen)
        return seen[0]

    def finish(self, task_id: str, timeout_s: float = FINISH_S) -> Task:
        """Wait until the task is done, failed or canceled."""
        return self.wait_for(task_id, lambda task: task["status"] in FINISHED, timeout_s)

    def download(self, part: dict[str, Any], **headers: str) -> requests.Response:
        """Request the clip of a part."""
        return self.get(part["link"], headers=headers)


class RetryingApiClient(ApiClient):
    """Reads tasks again while a part of the system is being restarted."""

    def task(self, task_id: str) -> Task:
        documents: list[Task] = []

        def answered() -> bool:
            try:
                response = self.get(f"/tasks/{task_id}")
            except (requests.ConnectionError, requests.Timeout):
                return False
            assert response.status_code in _UNAVAILABLE | {200}, response.text
            if response.status_code == 200:
                documents.append(response.json())
            return bool(documents)

        wait_until(answered, poll_s=POLL_S)
        return documents[0]


def is_ready(base_url: str) -> bool:
    """Return whether a system at the address is ready, and the tasks service with it.

    The web app answers 200 and "degraded" while it cannot reach the tasks service.
    """
    try:
        answer = requests.get(f"{base_url}/ready", timeout=5)
        return answer.status_code == 200 and answer.json()["status"] == "ready"
    except requests.RequestException:  # a starting server may accept and then not answer in time
        return False
