"""Untrusted names and texts, requests of other sites, and calls without a response."""

import time
from urllib.parse import urlsplit

import pytest
from conftest import PASSWORD, WORK_LIMIT_MS, NewVisitor, Visitor, lose_answer
from playwright.sync_api import Request, Route, expect

XSS = '<img src=x onerror="window.hit=1">"\'><script>window.hit=1</script>'


def test_markup_in_names_is_text(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    visitor.submit(video_url, name=XSS)
    expect(page.locator("h1")).to_have_text(XSS)
    expect(page.locator("main script, main img[src=x]")).to_have_count(0)
    visitor.open("tasks")
    expect(page.locator(".row strong")).to_have_text(XSS)
    expect(page.locator("main script, main img[src=x]")).to_have_count(0)
    assert page.evaluate("window.hit") is None


def test_failed_task_shows_the_link_that_it_has_tried(visitor: Visitor, base_url: str) -> None:
    link = f"{base_url}/openapi.json?no-video"
    visitor.submit(link)
    shown = visitor.page.locator(".failure.box code").first
    expect(shown).to_have_text(link, timeout=WORK_LIMIT_MS)


def test_other_sites_cannot_act(visitor: Visitor, base_url: str, video_url: str) -> None:
    """A form and a fetch of another origin, with the browser that holds the cookie."""
    page = visitor.context.new_page()
    page.goto(base_url.replace("127.0.0.1", "localhost") + "/docs/")
    statuses = page.evaluate(
        """async ([url, video]) => {
          const options = {method: 'POST', mode: 'no-cors', credentials: 'include',
            headers: {'Content-Type': 'text/plain'}, body: JSON.stringify({url: video})};
          try { return (await fetch(url + '/tasks', options)).type } catch { return 'blocked' }
        }""",
        [base_url, video_url],
    )
    assert statuses in ("opaque", "blocked")
    assert visitor.context.request.get(f"{base_url}/tasks").json() == []
    refused = visitor.context.request.post(
        f"{base_url}/tasks", data={"url": video_url}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert (refused.status, refused.json()["code"]) == (403, "cross_site")


def test_password_error_disappears_once_the_password_changes(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.page
    visitor.open()
    page.locator("#tab-true").click()
    for name, text in (("username", "Ada"), ("email", "ada@example.com"), ("password", "lakes-42")):
        page.fill(f"#{name}", text)
    page.locator("form button.primary").click()
    page.locator("#password-error").wait_for()
    visitor.wait_true("document.activeElement.id === 'password'")
    page.keyboard.type("L")
    page.locator("#password-error").wait_for(state="detached")


def test_too_many_log_ins_count_down(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.page
    visitor.open()
    page.fill("#email", "nobody@example.com")
    for _ in range(30):
        page.wait_for_selector("form button.primary:enabled")
        page.fill("#password", "Wrong-42")
        # By the keyboard: the button moves as the sentence above it comes and goes.
        with page.expect_response("**/auth/login") as response:
            page.press("#password", "Enter")
        if response.value.status == 429:
            break
    left = page.locator("form .failure span", has_text="Again in")
    expect(left).not_to_have_text(left.inner_text())


def test_sign_up_asks_for_an_invitation_where_one_is_needed(new_visitor: NewVisitor) -> None:
    """Only the API knows; it is asked first. `SIGNUP=invite`."""
    visitor = new_visitor()
    page = visitor.page
    sent: list[object] = []

    def answer(route: Route) -> None:
        sent.append(code := (route.request.post_data_json or {}).get("invitation"))
        if code == "a-code":
            return route.continue_()
        body = '{"status": 403, "code": "invitation_invalid"}'
        return route.fulfill(status=403, content_type="application/problem+json", body=body)

    page.route("**/auth/signup", answer)
    unique = time.time_ns()
    visitor.open()
    page.locator("#tab-true").click()
    expect(page.locator("#invitation")).to_have_count(0)
    page.fill("#username", f"Ada {unique}")
    page.fill("#email", f"a{unique}@example.com")
    page.fill("#password", PASSWORD)
    for code in ("", "wrong", "a-code"):
        if code:
            expect(page.locator("#invitation")).to_be_focused()
            page.locator("#invitation-error", has_text="needs a valid invitation").wait_for()
            page.fill("#invitation", code)
        page.locator("form button.primary").click()
    page.wait_for_selector("#links")
    assert sent == [None, "wrong", "a-code"]


@pytest.mark.parametrize("address", ["**/auth/signup", "**/auth/login"])
def test_sign_up_can_be_sent_again_after_a_lost_answer(
    new_visitor: NewVisitor, address: str
) -> None:
    """Then there is an account already: that of this email and password."""
    visitor = new_visitor()
    page = visitor.page
    visitor.open()
    page.route(address, lose_answer, times=1)
    page.locator("#tab-true").click()
    unique = time.time_ns()
    page.fill("#username", f"Ada {unique}")
    page.fill("#email", f"a{unique}@example.com")
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").click()
    page.locator("form .failure").wait_for()
    page.locator("form button.primary").click()
    page.wait_for_selector("#links")


def test_failed_task_shows_what_to_do(visitor: Visitor, base_url: str) -> None:
    visitor.submit(f"{base_url}/openapi.json?no-video")
    shown = visitor.page.locator(".failure.box p").first
    expect(shown).to_contain_text("Look whether it is the right one.", timeout=WORK_LIMIT_MS)


def test_idle_polls_are_answered_304(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    task_id = visitor.submit(video_url)
    visitor.wait_done()
    statuses: list[int] = []
    page.on(
        "response",
        lambda response: (
            statuses.append(response.status) if response.url.endswith(f"/tasks/{task_id}") else None
        ),
    )
    for _ in range(5):
        with page.expect_response(lambda response: response.url.endswith(f"/tasks/{task_id}")):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert statuses == [304] * 5


def test_first_load_is_small(visitor: Visitor) -> None:
    """In bytes of compressed bodies, with nothing of it in the browser's cache."""
    page = visitor.context.new_page()
    session = visitor.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    loaded: list[Request] = []
    page.on("requestfinished", lambda request: loaded.append(request))
    page.goto(visitor.base_url)
    page.wait_for_selector("#links")
    sizes = {urlsplit(each.url).path: each.sizes()["responseBodySize"] for each in loaded}
    assert sizes["/app.js"] > 10_000  # it was sent
    assert sum(sizes.values()) <= 60_000


def test_browser_that_keeps_no_cookies_is_named(new_visitor: NewVisitor) -> None:
    """As one that is set to block them: the password was right all the same."""
    visitor = new_visitor()
    page = visitor.page

    def without_cookie(route: Route) -> None:
        response = route.fetch()
        visitor.context.clear_cookies()
        kept = {name: value for name, value in response.headers.items() if name != "set-cookie"}
        route.fulfill(response=response, headers=kept)

    page.route("**/auth/login", without_cookie)
    visitor.open()
    page.locator("#tab-true").click()
    unique = time.time_ns()
    for name, text in (("username", f"Ada {unique}"), ("email", f"a{unique}@example.com")):
        page.fill(f"#{name}", text)
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").click()
    expect(page.locator("form .failure")).to_contain_text("does not keep the cookie")
    page.unroute_all()
    page.locator("form button.primary").click()
    page.wait_for_selector("#links")
