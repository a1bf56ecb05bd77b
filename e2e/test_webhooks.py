"""Webhooks through the whole system: a receiver on this machine verifies what it is sent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from blackbox.client import Api
from standardwebhooks.webhooks import Webhook

from idrl_testing import webhook_receiver
from idrl_testing.site import Site
from idrl_testing.waiting import wait_until
from idrl_testing.webhook_receiver import Answer, Message


@dataclass
class Receiver:
    """What it was sent, and the statuses that it answers, the last one from then on."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [204])
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def respond(self, message: Message) -> Answer:
        """Keep the message and answer with the next status."""
        self.received.append((message.headers, message.body))
        return Answer(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """Return the bodies, which the public library has verified."""
        verifier = Webhook(secret)
        return [verifier.verify(body, headers) for headers, body in self.received]


@pytest.fixture
def api(sign_up: Callable[[], Api]) -> Api:
    """An account of its own: events of other tests' tasks are not for these receivers."""
    return sign_up()


@pytest.fixture
def receiver(site: Site) -> Iterator[Receiver]:
    """Listen where the system reaches this machine: at the address of the site."""
    receiver = Receiver()
    with webhook_receiver.receive(receiver.respond, urlsplit(site.url).hostname or "") as address:
        receiver.url = f"{address}/hook"
        yield receiver


def test_receiver_gets_the_event_of_a_done_task(
    api: Api, site: Site, short_video: bytes, receiver: Receiver
) -> None:
    receiver.statuses = [500, 204]  # the first attempt fails, another follows
    events = ["task.done", "part.done", "task.planned"]
    made = api.post("/webhooks", {"url": receiver.url, "events": events})
    assert made.status_code == 201
    secret, link = made.json()["secret"], made.json()["link"]
    task = api.finish(api.submit(site.add("told.mp4", short_video))["task_id"])
    wait_until(lambda: len(receiver.received) == len(task["parts"]) + 3)
    bodies = receiver.verified(secret)
    assert {body["type"] for body in bodies} == set(events)
    assert {body["data"]["task_id"] for body in bodies} == {task["task_id"]}
    ids = [headers["webhook-id"] for headers, _ in receiver.received]
    assert len(set(ids)) == len(ids) - 1  # one event came twice
    wait_until(lambda: _statuses(api, link) == {"delivered"})
    deliveries = api.get(f"{link}/deliveries").json()
    assert sorted(each["attempts"] for each in deliveries)[-1] == 2
    again = api.post(f"{link}/deliveries/{deliveries[0]['delivery_id']}/resend", {})
    assert again.status_code == 202
    wait_until(lambda: len(receiver.received) == len(task["parts"]) + 4)
    assert receiver.received[-1][0]["webhook-id"] == deliveries[0]["message_id"]
    assert api.delete(link).status_code == 204
    assert api.get(link).status_code == 404


def _statuses(api: Api, link: str) -> set[str]:
    return {each["status"] for each in api.get(f"{link}/deliveries").json()}


def test_callbacks_of_a_task_and_of_its_batch(
    api: Api, site: Site, short_video: bytes, receiver: Receiver
) -> None:
    items = [{"url": site.add(f"told-{number}.mp4", short_video)} for number in range(2)]
    items[0]["callback_url"] = receiver.url
    batch = api.post("/batches", {"items": items, "callback_url": receiver.url}).json()
    wait_until(lambda: len(receiver.received) == 3)
    secret = api.get("/webhooks/callback-secret").json()["secret"]
    bodies = {body["type"]: body["data"] for body in receiver.verified(secret)}
    assert set(bodies) == {"task.planned", "task.done", "batch.done"}
    assert bodies["task.done"]["task_id"] == batch["task_ids"][0]
    assert bodies["batch.done"]["counts"]["done"] == 2
    assert api.get("/webhooks").json() == []
    link = f"/webhooks/{batch['batch_id']}"
    wait_until(lambda: _statuses(api, link) == {"delivered"})
    assert api.post("/webhooks/callback-secret", {}).json()["secret"] != secret
    assert api.delete("/webhooks/callback-secret").status_code == 204


def test_410_disables_the_webhook(api: Api, receiver: Receiver) -> None:
    receiver.statuses = [410]
    made = api.post("/webhooks", {"url": receiver.url}).json()
    assert api.post(f"{made['link']}/test", {}).status_code == 202
    wait_until(lambda: api.get(made["link"]).json()["disabled_at"] is not None)
    assert receiver.verified(made["secret"])[0]["type"] == "webhook.test"
    assert api.post(f"{made['link']}/test", {}).status_code == 409
    (delivery,) = api.get(f"{made['link']}/deliveries").json()
    assert (delivery["status"], delivery["http_status"]) == ("failed", 410)
