"""Answers that come late or in another order than the calls, and what the reader did meanwhile."""

import re
import time

import pytest
from conftest import PASSWORD, NewVisitor, Visitor
from playwright.sync_api import Route, expect
from running_system import RunningSystem

EXPIRED = '{"status": 401, "code": "token_expired"}'
HALF_AN_HOUR_S = 1800


def _refuse(route: Route) -> None:
    route.fulfill(status=401, content_type="application/problem+json", body=EXPIRED)


def _log_in(visitor: Visitor, email: str) -> None:
    """By the dialog over the page."""
    visitor.page.fill("dialog #email", email)
    visitor.page.fill("dialog #password", PASSWORD)
    visitor.page.locator("dialog form button.primary").click()
    expect(visitor.page.locator("dialog")).to_have_count(0)


def _hold(
    visitor: Visitor, address: str, method: str = "POST", *, only_first: bool = False
) -> list[Route]:
    """Hold the calls of an address and method, or the first of them; let all others pass."""
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == method and not (only_first and waiting):
            waiting.append(route)
        else:
            route.continue_()

    visitor.page.route(address, hold)
    return waiting


def test_what_is_typed_while_a_link_is_sent_stays(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    waiting = _hold(visitor, "**/tasks")
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    visitor.wait_until(lambda: waiting, "the call")
    page.fill("#links", f"{video_url}?next")
    with page.expect_response("**/tasks"):
        waiting[0].continue_()
    expect(page.locator("[role=status]")).to_have_text("Accepted.")
    expect(page.locator("#links")).to_have_value(f"{video_url}?next")


def _answer_on_another_screen(visitor: Visitor, waiting: list[Route], announced: str) -> None:
    """Type a name of a brand before the call is answered; it stays."""
    page = visitor.page
    visitor.wait_until(lambda: waiting, "the call")
    visitor.show("brand")
    page.fill("#brand-name", "Half typed")
    with page.expect_response(waiting[0].request.url):
        waiting[0].continue_()
    expect(page.locator("[role=status]")).to_have_text(announced)
    expect(page.locator("#brand-name")).to_have_value("Half typed")


def test_late_answer_does_not_navigate_back(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    waiting = _hold(visitor, "**/tasks")
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    _answer_on_another_screen(visitor, waiting, "Accepted.")
    visitor.open("new")
    expect(page.locator("#links")).to_have_value("")


def test_late_refusal_of_the_session_before_asks_for_no_log_in(visitor: Visitor) -> None:
    page = visitor.page
    waiting: list[Route] = []
    page.route(
        "**/webhooks",
        lambda route: route.continue_() if waiting else waiting.append(route),
    )
    page.route("**/me/keys", _refuse, times=1)
    visitor.open("account")
    page.locator("dialog").wait_for()
    visitor.wait_until(lambda: waiting, "the call")
    _log_in(visitor, visitor.email)
    _refuse(waiting[0])
    page.wait_for_selector("main:not(:has([aria-busy=true])) h1")
    page.wait_for_timeout(500)
    expect(page.locator("dialog")).to_have_count(0)


def test_late_refusal_of_a_renewal_leaves_the_log_in_screen(visitor: Visitor) -> None:
    page = visitor.page
    waiting = _hold(visitor, "**/auth/refresh")
    page.clock.install(time=time.time() + 2 * HALF_AN_HOUR_S)
    page.reload()  # timers that the page has set before would go by the real clock
    page.wait_for_selector("#links")
    page.clock.run_for(60_000)  # calls without an answer are given up after as long
    visitor.wait_until(lambda: waiting, "the renewal")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("#tab-true")
    _refuse(waiting[0])
    page.wait_for_timeout(500)
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator("#tab-true")).to_have_count(1)


def test_session_is_renewed_after_a_reload_too(visitor: Visitor) -> None:
    """The cookie of the log-in ends after an hour, however late the page was loaded again."""
    page = visitor.page
    waiting = _hold(visitor, "**/auth/refresh")
    page.clock.install(time=time.time() + HALF_AN_HOUR_S)
    page.reload()
    page.wait_for_selector("#links")
    page.clock.run_for(120_000)
    visitor.wait_until(lambda: waiting, "the renewal")


def test_other_account_in_the_dialog_gets_nothing_of_the_first(
    visitor: Visitor, new_visitor: NewVisitor, video_url: str
) -> None:
    other = new_visitor()
    other.sign_up()
    page = visitor.page
    page.fill("#links", f"{video_url}?secret")
    page.route("**/tasks", _refuse, times=1)
    page.locator("form button.primary").click()
    page.locator("dialog").wait_for()
    _log_in(visitor, other.email)
    page.wait_for_timeout(500)
    visitor.open("new")
    expect(page.locator("#links")).to_have_value("")
    assert "secret" not in page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
    assert visitor.context.request.get(f"{visitor.base_url}/tasks").json() == []
    page.reload()
    page.wait_for_selector("#links")  # logged in, as the other


def test_late_list_of_brands_brings_none_back(visitor: Visitor) -> None:
    page = visitor.page
    for name in ("One", "Two"):
        answer = visitor.context.request.post(
            f"{visitor.base_url}/brands",
            multipart={"name": name},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert answer.ok, answer.text()
    visitor.show("brand")
    waiting: list[Route] = []
    page.route("**/brands", lambda route: route.continue_() if waiting else waiting.append(route))
    _delete_brand(visitor, "One")
    visitor.wait_until(lambda: waiting, "the call")
    brands = visitor.context.request.get(f"{visitor.base_url}/brands").json()
    _delete_brand(visitor, "Two")
    expect(page.locator(".brands li")).to_have_count(0)
    with page.expect_response("**/brands"):
        waiting[0].fulfill(json=brands)
    page.wait_for_timeout(300)
    expect(page.locator(".brands li")).to_have_count(0)


def _delete_brand(visitor: Visitor, name: str) -> None:
    visitor.page.get_by_role("button", name=f"Delete the brand {name}").click()
    visitor.page.locator("dialog .primary").click()


def _post(visitor: Visitor, path: str, body: dict[str, str]) -> None:
    headers = {"Sec-Fetch-Site": "same-origin"}
    url = f"{visitor.base_url}/{path}"
    answer = visitor.context.request.post(url, data=body, headers=headers)
    assert answer.ok, answer.text()


def test_key_is_revoked_while_another_is_being_revoked(visitor: Visitor) -> None:
    page = visitor.page
    for name in ("one", "two"):
        _post(visitor, "me/keys", {"name": name})
    visitor.open("account")
    waiting = _hold(visitor, "**/me/keys/*", "DELETE", only_first=True)
    for name in ("one", "two"):
        page.get_by_role("button", name=f"Revoke {name}").click()
        page.locator("dialog .primary").click()
        visitor.wait_until(lambda: waiting, "the call")
    waiting[0].continue_()
    expect(page.get_by_role("button", name=re.compile("^Revoke (one|two)"))).to_have_count(0)
    assert visitor.context.request.get(f"{visitor.base_url}/me/keys").json() == []


@pytest.mark.parametrize(
    ("path", "field", "button", "text"),
    [
        ("me/keys", "#key-name", "Make a key", "key {}"),
        ("webhooks", "#hook-url", "Add the webhook", "http://127.0.0.1:9/{}"),
    ],
)
def test_next_one_is_made_before_the_list_has_come(
    visitor: Visitor, path: str, field: str, button: str, text: str
) -> None:
    page = visitor.page
    visitor.open("account")
    page.locator(".usage").wait_for()
    page.route(f"**/{path}", lambda r: r.continue_() if r.request.method == "POST" else None)
    for number in (1, 2):
        page.fill(field, text.format(number))
        page.get_by_role("button", name=button).click()
        page.wait_for_selector("dialog .code")
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
    assert len(visitor.context.request.get(f"{visitor.base_url}/{path}").json()) == 2


def test_webhook_is_deleted_while_it_is_being_tested(visitor: Visitor) -> None:
    page = visitor.page
    url = "http://127.0.0.1:9/hook"
    _post(visitor, "webhooks", {"url": url})
    visitor.open("account")
    waiting = _hold(visitor, "**/test", "POST", only_first=True)
    page.get_by_role("button", name=f"Test: {url}").click()
    visitor.wait_until(lambda: waiting, "the call")
    page.get_by_role("button", name=f"Delete the webhook {url}").click()
    page.locator("dialog .primary").click()
    waiting[0].continue_()
    page.get_by_role("button", name=f"Delete the webhook {url}").wait_for(state="detached")
    assert visitor.context.request.get(f"{visitor.base_url}/webhooks").json() == []


def test_late_deletion_does_not_lead_away_from_another_screen(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.show(f"task/{system.task_id(visitor.email, 'Race 0')}")
    waiting = _hold(visitor, "**/tasks/*", "DELETE")
    page.get_by_role("button", name="Delete").click()
    page.locator("dialog .primary").click()
    _answer_on_another_screen(visitor, waiting, "Deleted.")


@pytest.mark.parametrize("typed", ["", "# mine\nhttps://example.com/half-typed"])
def test_answer_to_the_account_before_changes_nothing_of_the_next(
    visitor: Visitor, new_visitor: NewVisitor, video_url: str, typed: str
) -> None:
    """It opened the first account's task, which the next account does not have."""
    other = new_visitor()
    other.sign_up()
    page = visitor.page
    waiting = _hold(visitor, "**/tasks")
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    visitor.wait_until(lambda: waiting, "the call")
    accepted = {"task_id": "00000000-0000-4000-8000-000000000000"}
    page.get_by_role("button", name="Log out").click()
    page.fill("#email", other.email)
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").click()
    page.fill("#links", typed)
    with page.expect_response("**/tasks"):
        waiting[0].fulfill(status=202, json=accepted)
    page.wait_for_timeout(300)
    expect(page.locator("#links")).to_have_value(typed)
    expect(page).to_have_url(re.compile("#/$"))


def test_second_click_on_log_out_ends_no_later_session(visitor: Visitor) -> None:
    page = visitor.page
    waiting = _hold(visitor, "**/auth/logout")
    page.get_by_role("button", name="Log out").dblclick()
    visitor.wait_until(lambda: len(waiting) == 2, "both calls")
    waiting[0].continue_()
    page.fill("#email", visitor.email)
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").click()
    page.wait_for_selector("#links")
    with page.expect_response("**/auth/logout"):
        _refuse(waiting[1])
    page.wait_for_timeout(300)
    expect(page.locator("#links")).to_have_count(1)
    page.reload()
    page.wait_for_selector("#links")


def test_late_list_of_deliveries_hides_no_later_one(visitor: Visitor) -> None:
    page = visitor.page
    url = "http://127.0.0.1:9/hook"
    _post(visitor, "webhooks", {"url": url})
    visitor.open("account")
    waiting: list[Route] = []
    sent = {"delivery_id": "1", "event": "webhook.test", "status": "failed"}
    page.route(
        "**/deliveries?*",
        lambda route: route.fulfill(json=[sent]) if waiting else waiting.append(route),
    )
    page.get_by_text("Last deliveries").click()
    visitor.wait_until(lambda: waiting, "the call")
    page.get_by_role("button", name=f"Test: {url}").click()
    page.get_by_text("webhook.test").wait_for()
    with page.expect_response("**/deliveries?*"):
        waiting[0].fulfill(json=[])
    page.wait_for_timeout(300)
    expect(page.get_by_text("webhook.test")).to_have_count(1)
