"""Webhooks on the page of the account: added, tested, sent again and deleted."""

import re
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest
from conftest import Visitor
from playwright.sync_api import Request, Route, expect


class _Receiver(BaseHTTPRequestHandler):
    """Takes every event, and keeps its headers."""

    received: ClassVar[list[Message]] = []

    def do_POST(self) -> None:
        self.received.append(self.headers)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log no request."""


@pytest.fixture
def receiver() -> Iterator[ThreadingHTTPServer]:
    _Receiver.received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def _add_webhook(visitor: Visitor, url: str) -> None:
    page = visitor.page
    visitor.open("account")
    page.fill("#hook-url", url)
    page.get_by_role("button", name="Add the webhook").click()
    expect(page.locator("dialog input")).to_have_value(re.compile("^whsec_"))
    page.keyboard.press("Escape")


def test_webhook_is_added_tested_and_sent_again(
    visitor: Visitor, receiver: ThreadingHTTPServer
) -> None:
    page = visitor.page
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    _add_webhook(visitor, url)
    page.get_by_role("button", name=f"Test: {url}").click()
    page.locator(".status.delivered").wait_for()
    with page.expect_response("**/deliveries?*"):
        page.get_by_role("button", name="Send again: webhook.test").click()
    visitor.wait_until(lambda: len(_Receiver.received) == 2, "the second delivery")
    first, second = _Receiver.received
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"]
    page.get_by_role("button", name=f"Delete the webhook {url}").click()
    page.locator("dialog .primary").click()
    page.get_by_role("button", name=f"Delete the webhook {url}").wait_for(state="detached")
    page.fill("#hook-url", "http://10.0.0.1/hook")
    page.get_by_role("button", name="Add the webhook").click()
    page.locator("form:has(#hook-url) .failure").wait_for()
    assert [line for line in visitor.console_errors if "400" not in line] == []


def test_two_deliveries_are_sent_again_quickly(
    visitor: Visitor, receiver: ThreadingHTTPServer
) -> None:
    page = visitor.page
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    _add_webhook(visitor, url)
    for count in (1, 2):
        page.get_by_role("button", name=f"Test: {url}").click()
        expect(page.locator(".status.delivered")).to_have_count(count)
    waiting: list[Route] = []
    page.route("**/resend", lambda route: waiting.append(route))
    again = page.get_by_role("button", name="Send again: webhook.test")
    again.nth(0).click()
    visitor.wait_until(lambda: waiting, "the first call")
    again.nth(1).click()
    visitor.wait_until(lambda: len(waiting) == 2, "the second call")
    again.nth(1).click()  # a double click does nothing
    for route in waiting:
        route.continue_()
    assert len({route.request.url for route in waiting}) == len(waiting) == 2


def test_deliveries_are_not_read_while_their_webhook_is_deleted(timed_visitor: Visitor) -> None:
    page = timed_visitor.page
    url = "http://127.0.0.1:9/hook"
    _add_webhook(timed_visitor, url)
    waiting = {"delivery_id": "1", "event": "webhook.test", "status": "waiting"}
    page.route("**/deliveries?*", lambda route: route.fulfill(json=[waiting]))
    deletions: list[Route] = []
    page.route(
        "**/webhooks/*",
        lambda route: (
            deletions.append(route) if route.request.method == "DELETE" else route.fallback()
        ),
    )
    with page.expect_response("**/deliveries?*"):
        page.get_by_text("Last deliveries").click()
    page.get_by_text("webhook.test").wait_for()
    with page.expect_response("**/deliveries?*"):
        page.clock.run_for(2000)
    page.get_by_role("button", name=f"Delete the webhook {url}").click()
    page.locator("dialog .primary").click()
    timed_visitor.wait_until(lambda: deletions, "the deletion")
    reads: list[Request] = []
    page.on("request", lambda request: reads.append(request))
    page.clock.run_for(5000)
    deletions[0].continue_()
    page.get_by_role("button", name=f"Delete the webhook {url}").wait_for(state="detached")
    assert [request.url for request in reads if "/deliveries" in request.url] == []
