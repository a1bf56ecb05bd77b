"""Long lists, and what is done with many rows at once."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import PASSWORD, ROWS_A_PAGE, Visitor
from playwright.sync_api import Request, Route, expect
from running_system import RunningSystem

POLL_MS = 6_000  # of the page's clock: lists with tasks in work are polled each 5 s
BUSY: dict[str, Any] = {
    "status": 503,
    "content_type": "application/problem+json",
    "body": json.dumps({"status": 503, "code": "tasks_unavailable"}),
}
REFUSED: dict[str, Any] = {
    **BUSY,
    "status": 403,
    "body": json.dumps({"status": 403, "code": "account_disabled"}),
}
NOT_FAILED: dict[str, Any] = {
    **BUSY,
    "status": 409,
    "body": json.dumps({"status": 409, "code": "not_failed"}),
}


def test_typing_a_search_leaves_the_list_alone(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.open("tasks")
    page.locator(".row input").first.check()
    chosen = page.locator(".bulk")
    chosen.wait_for()
    searches: list[str] = []

    def note(request: Request) -> None:
        searches.extend(parse_qs(urlsplit(request.url).query).get("q", []))

    page.on("request", note)
    page.locator("#search").press_sequentially("Race 1")
    expect(chosen).to_have_count(1)
    page.locator("#search").press("Enter")
    expect(page.locator(".row")).to_have_count(1)
    assert set(searches) == {"Race 1"}  # of what was typed before, none was searched for


@pytest.mark.parametrize(
    ("age_s", "shown"),
    [(30, "just now"), (3597, "1 hour ago"), (86_300, "yesterday"), (100, "2 minutes ago")],
)
def test_age_is_rounded_to_the_unit_that_it_reaches(
    visitor: Visitor, system: RunningSystem, age_s: int, shown: str
) -> None:
    system.add_tasks(visitor.email, 1)
    task_id = system.task_id(visitor.email, "Race 0")
    system.execute(
        f"UPDATE tasks SET created_at = now() - interval '{age_s} s' WHERE id = '{task_id}'"
    )
    visitor.open("tasks")
    expect(visitor.page.locator(".row .facts")).to_contain_text(shown)


def test_search_is_kept_after_viewing_a_task(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.open("tasks")
    page.get_by_role("button", name="Failed").click()
    page.fill("#search", "Race 1")
    page.locator("#search").press("Enter")
    expect(page.locator(".row")).to_have_count(1)
    page.locator(".row-link").click()
    page.locator(".title-row .status").wait_for()
    page.go_back()
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator("#search")).to_have_value("Race 1")
    expect(page.locator(".chip[aria-pressed=true]")).to_have_text("Failed")


def test_many_are_deleted_after_one_question(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    count = ROWS_A_PAGE + 5
    system.add_tasks(visitor.email, count)
    visitor.open("tasks")
    rows = visitor.show_rows(count)
    page.locator(".row input").first.check()
    page.get_by_role("button", name=f"Select all {count} shown").click()
    page.locator(".bulk .danger").click()
    page.get_by_role("dialog", name=f"Delete {count} tasks?").wait_for()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator("dialog")).to_have_count(0)
    expect(rows).to_have_count(count)
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    page.wait_for_selector(".empty")
    assert visitor.context.request.get(f"{visitor.base_url}/tasks").json() == []


def test_refused_deletion_is_shown_and_stays_chosen(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 2)
    visitor.open("tasks")
    page.locator(".row input").first.check()
    page.route("**/tasks/*", lambda route: route.fulfill(**REFUSED))
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    page.locator(".failure", has_text="disabled").wait_for()
    expect(page.locator(".row input").first).to_be_checked()
    page.unroute_all()
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".failure")).to_have_count(0)


def test_refusal_of_one_leaves_the_others_to_be_retried(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.open("tasks")
    refused = system.task_id(visitor.email, "Race 1")
    retried: list[str] = []

    def answer(route: Route) -> None:
        task_id = route.request.url.split("/")[-2]
        retried.append(task_id)
        if task_id == refused:
            route.fulfill(**NOT_FAILED)
        else:
            route.fulfill(status=202, json={"task_id": task_id})

    page.route("**/tasks/*/retry", answer)
    boxes = page.locator(".row input")
    expect(boxes).to_have_count(3)  # `all` does not wait for the rows
    for box in boxes.all():
        box.check()
    page.get_by_role("button", name="Retry").click()
    page.locator(".failure", has_text="Only a failed task").wait_for()
    assert retried == [system.task_id(visitor.email, f"Race {n}") for n in range(3)]
    checked = [box.is_checked() for box in boxes.all()]
    assert checked == [False, True, False]


def test_busy_system_gets_the_deletion_again(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.open("tasks")
    page.locator(".row input").check()
    busy = [429, 503]

    def answer(route: Route) -> None:
        if busy:
            route.fulfill(**{**BUSY, "status": busy.pop()})
        else:
            route.continue_()

    page.route("**/tasks/*", answer)
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    page.wait_for_selector(".empty")


def test_more_rows_that_do_not_come(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, ROWS_A_PAGE + 1)
    visitor.open("tasks")
    page.route("**/tasks?*cursor*", lambda route: route.fulfill(**BUSY))
    page.get_by_role("button", name="Show more").click()
    page.locator(".failure").wait_for()
    page.unroute_all()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".row")).to_have_count(ROWS_A_PAGE + 1)
    expect(page.locator(".failure")).to_have_count(0)


def test_no_row_is_lost_when_new_ones_come(
    timed_visitor: Visitor, system: RunningSystem, video_url: str
) -> None:
    visitor = timed_visitor
    old = ROWS_A_PAGE + 5
    system.add_tasks(visitor.email, old)
    visitor.open("tasks")
    rows = visitor.show_rows(old)
    for count in (1, 2):
        answer = visitor.context.request.post(
            f"{visitor.base_url}/tasks",
            data={"url": f"{video_url}?{count}"},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert answer.ok
        visitor.page.clock.run_for(POLL_MS)
        expect(rows).to_have_count(old + count)
    names = rows.locator("strong").all_text_contents()  # of rows out of sight, too
    assert names[2:] == [f"Race {n}" for n in range(old)]


def test_rows_after_the_first_page_are_followed(
    timed_visitor: Visitor, system: RunningSystem
) -> None:
    """Also one that a newer task has pushed out of the first page, and one that is deleted."""
    visitor = timed_visitor
    clock = visitor.page.clock
    count = ROWS_A_PAGE + 5
    system.add_tasks(visitor.email, count, "queued")
    visitor.open("tasks")
    rows = visitor.show_rows(count)
    system.add_tasks(visitor.email, 1)  # now: the newest
    clock.run_for(POLL_MS)
    expect(rows).to_have_count(count + 1)
    for name in (f"Race {ROWS_A_PAGE - 1}", f"Race {count - 1}"):
        system.set_status(visitor.email, name, "failed")
        clock.run_for(POLL_MS)
        expect(rows.filter(has_text=name).locator(".status.failed")).to_have_count(1)
    system.execute(f"DELETE FROM tasks WHERE id = '{system.task_id(visitor.email, 'Race 32')}'")
    clock.run_for(POLL_MS)
    expect(rows).to_have_count(count)
    expect(rows.filter(has_text="Race 32")).to_have_count(0)


@pytest.mark.parametrize(("chip", "status"), [("Planned", "planned"), ("Aborted", "canceled")])
def test_planned_and_aborted_tasks_are_found(
    visitor: Visitor, system: RunningSystem, chip: str, status: str
) -> None:
    for each in ("planned", "canceled", "failed"):
        system.add_tasks(visitor.email, 1, each)
    visitor.open("tasks")
    rows = visitor.page.locator(".row")
    expect(rows).to_have_count(3)
    visitor.page.get_by_role("button", name=chip).click()
    expect(rows).to_have_count(1)
    expect(rows.locator(f".status.{status}")).to_have_count(1)


def test_only_failed_tasks_are_offered_to_be_retried(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    for each in ("planned", "failed"):
        system.add_tasks(visitor.email, 1, each)
    visitor.open("tasks")
    chosen = page.locator(".bulk")
    page.locator(".row", has=page.locator(".planned")).locator("input").check()
    expect(chosen.get_by_role("button", name="Delete")).to_be_visible()
    expect(chosen.get_by_role("button", name="Retry")).to_have_count(0)
    chosen.get_by_role("button", name="Select all 2 shown").click()
    expect(chosen.get_by_role("button", name="Retry")).to_be_visible()
    expect(chosen.get_by_role("button", name="Select all")).to_have_count(0)


def test_what_did_not_load_is_requested_again(visitor: Visitor) -> None:
    page = visitor.page
    for address in ("usage", "me/keys", "webhooks"):
        page.route(f"**/{address}", lambda route: route.fulfill(**BUSY))
    visitor.open("account")
    expect(page.locator("main .failure")).to_have_count(3)
    page.unroute_all()
    page.locator(".usage").wait_for()
    expect(page.locator("main .failure")).to_have_count(0)


def test_key_is_revoked_after_a_question(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("account")
    page.fill("#key-name", "laptop")
    page.get_by_role("button", name="Make a key").click()
    page.wait_for_selector("dialog .code")
    page.keyboard.press("Escape")
    revoke = page.get_by_role("button", name="Revoke laptop")
    revoke.press("Enter")
    page.get_by_role("dialog", name="Revoke laptop?").wait_for()
    page.keyboard.press("Escape")
    expect(revoke).to_be_focused()
    page.keyboard.press("Enter")
    page.locator("dialog .primary").press("Enter")
    expect(revoke).to_have_count(0)
    assert visitor.context.request.get(f"{visitor.base_url}/me/keys").json() == []
    expect(page.get_by_role("button", name="Make a key")).to_be_focused()


def test_session_that_ends_before_a_form_with_a_password(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("account")
    page.get_by_role("button", name="Delete the account").click()
    page.fill("#delete-password", "wrong")
    page.locator("dialog .danger.primary").click()
    page.get_by_text("The current password is wrong.").wait_for()
    visitor.context.clear_cookies()
    page.locator("dialog .danger.primary").click()
    login = page.get_by_role("dialog", name="Log in again")
    login.locator("#password").fill(PASSWORD)
    login.locator("button.primary").click()
    login.wait_for(state="detached")
    expect(page.locator("#delete-password")).to_have_value("wrong")
    assert visitor.context.request.get(f"{visitor.base_url}/me").ok


def test_reached_quota_is_shown_and_not_waited_for(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 2)
    visitor.open("tasks")
    refusal = json.dumps({"status": 429, "code": "quota_live_tasks"})
    page.route(
        "**/tasks/*/retry",
        lambda route: route.fulfill(
            status=429,
            content_type="application/problem+json",
            body=refusal,
            headers={"Retry-After": "30"},
        ),
    )
    page.locator(".row input").first.check()
    page.get_by_role("button", name="Retry").click()
    page.locator(".failure", has_text="as many tasks in work as you may").wait_for()
    expect(page.get_by_role("button", name="Retry")).to_be_enabled()


def test_button_names_how_many_clips_it_shows(visitor: Visitor, system: RunningSystem) -> None:
    """Of 176 hidden ones it named all and showed 96."""
    page = visitor.page
    visitor.show(f"task/{system.add_long_task(visitor.email, 200)}")
    page.get_by_role("button", name="Show 96 more").click()
    expect(page.locator(".card")).to_have_count(120)
    page.get_by_role("button", name="Show 80 more").click()
    expect(page.locator(".card")).to_have_count(200)


def test_task_is_found_by_its_long_link(visitor: Visitor, system: RunningSystem) -> None:
    """As one that is signed for an hour: the list "cannot be requested like this"."""
    page = visitor.page
    system.add_tasks(visitor.email, 2)
    link = f"https://media.example.com/race.mp4?signature={'🎬é' * 200}"
    task_id = system.task_id(visitor.email, "Race 1")
    system.execute(f"UPDATE tasks SET url = '{link}' WHERE id = '{task_id}'")
    visitor.open("tasks")
    page.fill("#search", link)
    page.locator("#search").press("Enter")
    expect(page.locator(".row strong")).to_have_text(["Race 1"])
    expect(page.locator("#search")).to_have_value(link)
