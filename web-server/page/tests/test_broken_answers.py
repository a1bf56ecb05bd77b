"""Invalid answers and addresses: the page stays, and continues by itself."""

import re
from typing import Any

import pytest
from conftest import PASSWORD, NewVisitor, Visitor
from playwright.sync_api import Route, expect

PORTAL: dict[str, Any] = {
    "status": 200,
    "content_type": "text/html",
    "body": "<p>Welcome to our network</p>",
}
CUT_OFF: dict[str, Any] = {
    "status": 200,
    "content_type": "application/json",
    "body": '{"task_id": "4',
}
PROXY: dict[str, Any] = {**PORTAL, "status": 404, "body": "<p>default backend - 404</p>"}
BUSY: dict[str, Any] = {
    "status": 503,
    "content_type": "application/problem+json",
    "body": '{"status": 503, "code": "web_unavailable"}',
}


def _answer(visitor: Visitor, address: str, answer: dict[str, Any]) -> None:
    """Give this answer to each call, until `unroute_all`."""
    visitor.page.route(address, lambda route: route.fulfill(**answer))


@pytest.mark.parametrize("answer", [BUSY, PORTAL, PROXY], ids=["busy", "portal", "proxy"])
def test_reload_without_an_answer_ends_no_session(visitor: Visitor, answer: dict[str, Any]) -> None:
    _answer(visitor, "**/me", answer)
    visitor.page.reload()
    visitor.page.get_by_text("goes on by itself").wait_for()
    visitor.page.unroute_all()
    visitor.page.wait_for_selector("#links")


def test_log_out_without_an_answer_is_no_log_out(visitor: Visitor) -> None:
    page = visitor.page
    visitor.context.set_offline(True)
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("You are still logged in").wait_for()
    visitor.context.set_offline(False)
    assert visitor.context.request.get(f"{visitor.base_url}/tasks").ok
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("#email")
    expect(page.get_by_text("You are still logged in")).to_have_count(0)
    assert visitor.context.request.get(f"{visitor.base_url}/tasks").status == 401


def test_deleted_account_is_out_in_the_other_tab(visitor: Visitor) -> None:
    other = visitor.context.new_page()
    other.goto(f"{visitor.base_url}/#/account")
    other.get_by_role("button", name="Delete the account").click()
    other.fill("#delete-password", PASSWORD)
    other.locator("dialog .danger.primary").click()
    other.wait_for_selector("#email")
    visitor.page.wait_for_selector("#email")
    expect(visitor.page.locator("dialog")).to_have_count(0)


@pytest.mark.parametrize("answer", [PORTAL, CUT_OFF, PROXY], ids=["portal", "cut off", "proxy"])
def test_shown_task_survives_an_invalid_answer(
    visitor: Visitor, video_url: str, answer: dict[str, Any]
) -> None:
    task_id = visitor.submit(video_url)
    visitor.open("new")
    _answer(visitor, f"**/tasks/{task_id}", answer)
    visitor.open(f"task/{task_id}")
    visitor.page.locator(".banner").wait_for()
    visitor.page.unroute_all()
    visitor.wait_done()
    visitor.page.locator(".banner").wait_for(state="detached")


def test_form_can_be_sent_again_after_an_invalid_answer(visitor: Visitor, video_url: str) -> None:
    _answer(visitor, "**/tasks", PORTAL)
    visitor.page.fill("#links", video_url)
    visitor.page.locator("form button.primary").click()
    visitor.page.locator("form > .failure").wait_for()
    visitor.page.unroute_all()
    visitor.page.locator("form button.primary").click()
    visitor.page.wait_for_url("**/#/task/*")


def test_call_without_a_response_is_noticed(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.page
    page.clock.install()
    visitor.sign_up()
    unanswered: list[Route] = []
    page.route("**/tasks?*", lambda route: unanswered.append(route))
    visitor.open("tasks")
    visitor.wait_until(lambda: unanswered, "a call")
    page.clock.run_for(60_000)
    page.locator(".banner").wait_for()
    page.unroute_all()
    page.clock.run_for(10_000)
    page.locator(".empty").wait_for()
    page.locator(".banner").wait_for(state="detached")


@pytest.mark.parametrize("address", ["task/%E0%A4%A", "nothing", "task", "constructor"])
def test_invalid_address_shows_a_screen(visitor: Visitor, address: str) -> None:
    visitor.page.goto("about:blank")
    visitor.open(address)
    visitor.page.wait_for_selector("h1")
    expect(visitor.page).to_have_title(re.compile("^(?!nav).+ · idrl$"))


def test_title_names_the_task(visitor: Visitor, video_url: str) -> None:
    visitor.submit(video_url, name="Sunday race")
    visitor.wait_true("document.title === 'Sunday race · idrl'")
    visitor.open("tasks")
    visitor.wait_true("document.title === 'Tasks · idrl'")


HTML = "<html><h1>Sorry</h1></html>"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (413, "That is too much at once."),
        (429, "Too many tries; wait a little."),
        (502, "The system does not answer just now."),
        (503, "The system does not answer just now."),
        (504, "The system takes too long to answer."),
    ],
)
def test_refusal_of_a_proxy_is_explained(visitor: Visitor, status: int, message: str) -> None:
    """It is a page in HTML, of a proxy or a firewall in front of the system."""
    page = visitor.page
    _answer(visitor, "**/tasks", {"status": status, "content_type": "text/html", "body": HTML})
    page.fill("#links", "http://127.0.0.1:9/lap.mp4")
    page.locator("form button.primary").click()
    expect(page.locator("form > .failure")).to_contain_text(message)


@pytest.mark.parametrize(
    "body", ['{"code": 7}', '{"code": "x", "errors": {"url": ["wrong"]}}', "[]", "null"]
)
def test_form_can_be_sent_again_after_json_of_another_api(visitor: Visitor, body: str) -> None:
    page = visitor.page
    _answer(visitor, "**/tasks", {"status": 400, "content_type": "application/json", "body": body})
    page.fill("#links", "http://127.0.0.1:9/lap.mp4")
    page.locator("form button.primary").click()
    page.locator("form > .failure").wait_for()
    page.unroute_all()
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (BUSY, "The system does not answer."),
        (PROXY, "The system does not answer."),
        (PORTAL, "No connection."),
    ],
    ids=["busy", "proxy", "portal"],
)
def test_banner_distinguishes_system_and_network(
    visitor: Visitor, answer: dict[str, Any], message: str
) -> None:
    """While the system was down its users were sent to look for a fault of their network."""
    _answer(visitor, "**/tasks?*", answer)
    visitor.open("tasks")
    expect(visitor.page.locator(".banner [role=alert]")).to_have_text(message)


DOWN: dict[str, Any] = {"status": 503, "json": {"status": "unavailable"}}
CROWDED: dict[str, Any] = {
    **BUSY, "status": 429, "body": '{"status": 429, "code": "too_many_requests"}',
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (DOWN, "Not available"),
        (BUSY, "Not available"),
        (CROWDED, "Online"),
        (None, "Not reachable"),
    ],
    ids=["down", "busy", "crowded", "none"],
)
def test_header_distinguishes_system_and_network(
    visitor: Visitor, answer: dict[str, Any] | None, shown: str
) -> None:
    """Of a system without its database it was said that it is not reachable."""
    page = visitor.page
    calls: list[Route] = []

    def respond(route: Route) -> None:
        if answer:
            route.fulfill(**answer)
        else:
            route.abort()
        calls.append(route)

    page.route("**/ready", respond)
    page.reload()
    visitor.wait_until(lambda: calls, "the call")
    page.wait_for_timeout(300)
    expect(page.locator(".system")).to_contain_text(shown)
