"""The `/webhooks` calls: bounds, ownership, and sending deliveries again."""

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from worker_server.jobs.sweep import delete_old_rows
from worker_server.queue import webhook_rows, webhooks
from worker_server.queue.webhooks import Outcome
from worker_server.settings import Settings
from worker_testing import finished_part, problem, processing

Auth = Callable[..., dict[str, str]]
URL = "https://hooks.example.com/idrl?key=1"


@pytest.fixture
def webhook(client: FlaskClient, auth: Auth) -> dict[str, Any]:
    body = {"url": URL, "events": ["task.done", "part.done", "task.done"]}
    made = client.post("/webhooks", json=body, headers=auth())
    assert made.status_code == 201, made.get_json()
    document: dict[str, Any] = made.get_json()
    return document


def test_secret_is_shown_once(client: FlaskClient, auth: Auth, webhook: dict[str, Any]) -> None:
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", webhook.pop("secret"))
    assert webhook["events"] == ["task.done", "part.done"]
    assert client.get(webhook["link"], headers=auth()).get_json() == webhook
    assert client.get("/webhooks", headers=auth()).get_json() == [webhook]


def test_events_of_parts_are_sent_on_request_alone(client: FlaskClient, auth: Auth) -> None:
    made = client.post("/webhooks", json={"url": URL}, headers=auth()).get_json()
    assert set(made["events"]) == set(webhook_rows.EVENTS) - {"part.done"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["task.begun"]}, "events.0"),
        ({"url": URL, "secret": "mine"}, "secret"),
    ],
)
def test_wrong_bodies(client: FlaskClient, auth: Auth, body: object, field: str) -> None:
    answer = client.post("/webhooks", json=body, headers=auth())
    assert problem(answer) == (400, "invalid_body")
    assert answer.get_json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:8080/", "url_private_address"),
        ("http://169.254.169.254/latest", "url_private_address"),
        ("ftp://example.com/", "url_scheme_not_allowed"),
        ("https://a:b@example.com/", "url_credentials_not_allowed"),
        ("https://example.com:22/", "url_port_not_allowed"),
        ("no url", "url_invalid"),
    ],
)
def test_webhook_urls_are_checked_like_source_urls(
    client: FlaskClient, auth: Auth, url: str, code: str
) -> None:
    answer = client.post("/webhooks", json={"url": url}, headers=auth())
    assert answer.status_code == 400
    assert code in answer.get_data(as_text=True)
    assert client.get("/webhooks", headers=auth()).get_json() == []


def test_another_account_sees_none_of_it(
    client: FlaskClient, auth: Auth, webhook: dict[str, Any]
) -> None:
    other, link = auth(2), webhook["link"]
    assert client.get("/webhooks", headers=other).get_json() == []
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("POST", "/deliveries/00000000-0000-0000-0000-000000000001/resend"),
    ):
        answer = client.open(link + path, method=method, headers=other)
        assert problem(answer) == (404, "webhook_not_found"), path
    assert client.get(link, headers=auth()).status_code == 200


def test_number_of_webhooks_is_bounded(client: FlaskClient, auth: Auth) -> None:
    for _ in range(webhook_rows.MAX_WEBHOOKS):
        assert client.post("/webhooks", json={"url": URL}, headers=auth()).status_code == 201
    answer = client.post("/webhooks", json={"url": URL}, headers=auth())
    assert problem(answer) == (429, "too_many_webhooks")
    assert client.post("/webhooks", json={"url": URL}, headers=auth(2)).status_code == 201


def test_deliveries_are_listed_in_pages_and_sent_again(
    client: FlaskClient, auth: Auth, webhook: dict[str, Any]
) -> None:
    task_id = processing(2)
    for _ in range(2):
        finished_part()
    link = f"{webhook['link']}/deliveries"
    seen: list[dict[str, Any]] = []
    page = client.get(f"{link}?max=2", headers=auth())
    while True:
        seen += page.get_json()
        if "Link" not in page.headers:
            break
        page = client.get(re.findall("<(.*)>", page.headers["Link"])[0], headers=auth())
    # Of one transaction, so with one time stamp: their order is undefined.
    assert sorted((each["event"], each["part"] or 0) for each in seen) == [
        ("part.done", 0),
        ("part.done", 1),
        ("task.done", 0),
    ]
    assert {each["task_id"] for each in seen} == {str(task_id)}
    assert {(each["status"], each["attempts"]) for each in seen} == {("waiting", 0)}
    delivery = webhooks.claim(30)
    assert delivery is not None
    webhooks.record_attempt(delivery, Outcome(http_status=500))
    webhooks.record_attempt(delivery, Outcome(http_status=204))  # late: the same attempt
    (first,) = [e for e in client.get(link, headers=auth()).get_json() if e["http_status"]]
    again = client.post(f"{link}/{first['delivery_id']}/resend", headers=auth())
    assert (again.status_code, again.get_json()["message_id"]) == (202, first["message_id"])
    assert again.get_json()["attempts"] == 0


def test_disabled_webhook_sends_nothing(
    client: FlaskClient, auth: Auth, webhook: dict[str, Any]
) -> None:
    link = webhook["link"]
    for _ in range(2):
        tested = client.post(f"{link}/test", headers=auth())
        assert (tested.status_code, tested.get_json()["event"]) == (202, "webhook.test")
    delivery = webhooks.claim(30)
    assert delivery is not None
    webhooks.record_attempt(delivery, Outcome(http_status=410))
    assert client.get(link, headers=auth()).get_json()["disabled_at"] is not None
    deliveries = client.get(f"{link}/deliveries", headers=auth()).get_json()
    assert {each["status"] for each in deliveries} == {"failed"}
    assert problem(client.post(f"{link}/test", headers=auth())) == (409, "webhook_disabled")
    resent = client.post(f"{link}/deliveries/{delivery.id}/resend", headers=auth())
    assert problem(resent) == (409, "webhook_disabled")
    assert webhooks.claim(30) is None


def test_outbox_does_not_fill_with_test_events(
    client: FlaskClient, auth: Auth, webhook: dict[str, Any]
) -> None:
    """As many calls at once as one likes, while the receiver is unavailable."""
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(
                client.application.test_client().post, f"{webhook['link']}/test", headers=auth()
            )
            for _ in range(20)
        ]
    assert Counter(call.result().status_code for call in calls) == {202: 10, 429: 10}
    refused = client.post(f"{webhook['link']}/test", headers=auth())
    assert problem(refused) == (429, "too_many_requests")
    delivery = webhooks.claim(30)
    assert delivery is not None
    webhooks.record_attempt(delivery, Outcome(http_status=204))
    assert client.post(f"{webhook['link']}/test", headers=auth()).status_code == 202


def test_deleted_webhook_takes_its_deliveries_along(
    client: FlaskClient, auth: Auth, webhook: dict[str, Any], settings: Settings
) -> None:
    client.post(f"{webhook['link']}/test", headers=auth())
    delete_old_rows(settings)
    assert len(client.get(f"{webhook['link']}/deliveries", headers=auth()).get_json()) == 1
    assert client.delete(webhook["link"], headers=auth()).status_code == 204
    assert webhooks.claim(30) is None
    assert problem(client.delete(webhook["link"], headers=auth())) == (404, "webhook_not_found")
