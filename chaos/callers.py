"""The stream of work: accounts that submit, watch, download, abort, delete and retry tasks."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import requests

from chaos.history import History, Submission
from chaos.receiver import Receiver
from chaos.sources import Source, Sources
from chaos.uploads import BytesLost, Upload
from idrl_testing.api_client import ApiClient

_ACCOUNTS = 3
_LIVE_AT_MOST = 4
_TIMEOUT_S = 60.0
_PAUSE_S = (0.1, 1.0)
_ENDED = ("done", "failed", "canceled")
_UPLOAD_SHARE = 0.15
_CUT_SHARE = 0.5
_BRANDS_AT_MOST = 5
_WEIGHTS = {"short.mp4": 6, "long.mp4": 4, "slow.mp4": 2, "flaky.mp4": 1}


@dataclass
class Caller:
    """One account; its calls go into the history."""

    number: int
    client: ApiClient
    history: History
    random: Random
    live: list[Submission] = field(default_factory=list)
    unused_brands: list[str] = field(default_factory=list)

    def call(
        self,
        method: str,
        path: str,
        label: str,
        **options: Any,  # noqa: ANN401 # those of requests
    ) -> requests.Response | None:
        """Make one call, without any retry; None where there was no answer."""
        began = time.monotonic()
        headers = {"Authorization": f"Bearer {self.client.token}", **options.pop("headers", {})}
        url = self.client.base_url + path
        try:
            answer = requests.request(method, url, headers=headers, timeout=_TIMEOUT_S, **options)
        except requests.RequestException:
            self.history.record_call(method, label, began, None, {})
            return None
        self.history.record_call(method, label, began, answer.status_code, answer.headers)
        return answer

    def submit(self, source: Source, *, by_upload: bool = False) -> Submission:
        """Submit a source under a new key, by its URL or its bytes."""
        upload = Upload(source.body) if by_upload else None
        submission = Submission(self.number, source, uuid.uuid4().hex, upload)
        self.history.record_submission(submission)
        self.live.append(submission)
        self.repeat(submission)
        return submission

    def repeat(self, submission: Submission, *, cut_share: float = _CUT_SHARE) -> bool:
        """Send the submission, for the first time or again; return whether it was accepted."""
        body: dict[str, str] | None = {"url": submission.source.url}
        if submission.upload is not None:
            self.advance(submission.upload, cut_share)
            body = submission.upload.body_of_task
        if body is None:
            return False
        headers = {"Idempotency-Key": submission.key}
        answer = self.call("POST", "/tasks", "/tasks", json=body, headers=headers)
        if answer is None or answer.status_code != 202:
            return False
        submission.task_ids.add(answer.json()["task_id"])
        return True

    def advance(self, upload: Upload, cut_share: float) -> None:
        """Send what is missing of an upload; lost bytes go into the history."""
        try:
            upload.advance(self.call, self.random, cut_share)
        except BytesLost as loss:
            self.history.record_loss(str(loss))

    def task(self, submission: Submission) -> dict[str, Any] | None:
        """Return the task; None where it is gone or there was no answer."""
        answer = self.call("GET", f"/tasks/{submission.task_id}", "/tasks/<id>")
        if answer is None or answer.status_code != 200:
            return None
        document: dict[str, Any] = answer.json()
        return document

    def delete(self, submission: Submission) -> None:
        """Abort or delete the task, once: a repeated abort would delete it."""
        submission.delete_sent = True
        answer = self.call("DELETE", f"/tasks/{submission.task_id}", "/tasks/<id>")
        if answer is not None and answer.ok:
            submission.delete_status = answer.json()["status"]

    def retry(self, submission: Submission) -> None:
        submission.retries += 1
        self.call("POST", f"/tasks/{submission.task_id}/retry", "/tasks/<id>/retry")

    def download(self, part: dict[str, Any]) -> bytes | None:
        """Return the clip; None where it was not answered whole."""
        answer = self.call("GET", part["link"], "/tasks/<id>/parts/<n>")
        return answer.content if answer is not None and answer.status_code == 200 else None

    def make_brand(self, picture: bytes) -> str | None:
        """Make a brand that shows the picture for a second before and after; return its id."""
        files = {name: (f"{name}.png", picture) for name in ("before", "after")}
        answer = self.call("POST", "/brands", "/brands", data={"name": "chaos"}, files=files)
        return str(answer.json()["brand_id"]) if answer and answer.status_code == 201 else None

    def change_brands(self, picture: bytes) -> None:
        """Make a brand, and delete the newest one that is not needed where there are many."""
        if len(self.unused_brands) < _BRANDS_AT_MOST:
            made = self.make_brand(picture)
            self.unused_brands += [made] if made else []
        else:
            self.call("DELETE", f"/brands/{self.unused_brands.pop()}", "/brands/<id>")


class Stream:
    """Threads, one for each caller, that act at random until stopped."""

    def __init__(self, base_url: str, sources: Sources, history: History, seed: int) -> None:
        self._sources = sources
        self._stopping = threading.Event()
        self.callers = [
            Caller(number, ApiClient.signed_up(base_url), history, Random(seed * 100 + number))
            for number in range(_ACCOUNTS)
        ]

    def add_webhooks(self, receiver: Receiver) -> None:
        """Add a webhook to the receiver for each account."""
        for caller in self.callers:
            path = f"/{uuid.uuid4()}"
            body = {"url": receiver.url + path}
            answer = caller.client.post("/webhooks", body)
            assert answer.status_code == 201, answer.text
            receiver.expect_secret(path, answer.json()["secret"])

    def brand_first_caller(self) -> None:
        """Give the first account a default brand; its bumpers last as long as the built-in ones."""
        caller = self.callers[0]
        brand = caller.make_brand(self._sources.pictures[0])
        answer = caller.client.call("PUT", "/brands/default", json={"brand_id": brand})
        assert answer.status_code == 200, answer.text

    @contextmanager
    def running(self) -> Iterator[None]:
        """Act while the block runs; afterwards no call is under way."""
        threads = [threading.Thread(target=self._run, args=(each,)) for each in self.callers]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _run(self, caller: Caller) -> None:
        while not self._stopping.is_set():
            self._act_once(caller)
            self._stopping.wait(caller.random.uniform(*_PAUSE_S))

    def _act_once(self, caller: Caller) -> None:
        if len(caller.live) < _LIVE_AT_MOST:
            source = self._choose(caller.random)
            by_upload = source.is_good and caller.random.random() < _UPLOAD_SHARE
            caller.submit(source, by_upload=by_upload)
        elif caller.random.random() < 0.2:
            caller.call("GET", "/tasks?max=20", "/tasks")
        elif caller.random.random() < 0.03:
            caller.change_brands(caller.random.choice(self._sources.pictures))
        else:
            self._watch(caller, caller.random.choice(caller.live))

    def _choose(self, random: Random) -> Source:
        if random.random() < 0.2:
            return random.choice([each for each in self._sources.all if not each.is_good])
        name = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        return self._sources.get(name)

    def _watch(self, caller: Caller, submission: Submission) -> None:
        if submission.task_id is None:
            caller.repeat(submission)
        elif (task := caller.task(submission)) is not None:
            self._act_on_task(caller, submission, task)

    def _act_on_task(self, caller: Caller, submission: Submission, task: dict[str, Any]) -> None:
        ready = [part for part in task["parts"] if part["status"] == "done"]
        if ready and caller.random.random() < 0.3:
            caller.download(caller.random.choice(ready))
        if task["status"] not in _ENDED:
            if caller.random.random() < 0.04:
                caller.delete(submission)
                caller.live.remove(submission)
            return
        caller.live.remove(submission)
        if caller.random.random() < 0.1:
            caller.delete(submission)
        elif task["status"] == "failed" and caller.random.random() < 0.2:
            caller.retry(submission)
