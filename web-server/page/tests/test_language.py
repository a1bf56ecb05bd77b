"""Numbers and words in the reader's language."""

import pytest
from conftest import Visitor
from playwright.sync_api import expect
from running_system import RunningSystem


@pytest.mark.parametrize(
    ("language", "title"), [("en", "Delete one task?"), ("es", "¿Borrar una tarea?")]
)
def test_one_task_is_counted_in_the_singular(
    visitor: Visitor, system: RunningSystem, language: str, title: str
) -> None:
    page = visitor.page
    page.select_option("#language", language)
    system.add_tasks(visitor.email, 1)
    visitor.open("tasks")
    page.locator(".row input").check()
    page.locator(".bulk .danger").click()
    page.get_by_role("dialog", name=title).wait_for()


@pytest.mark.parametrize(("language", "time"), [("en", "1:05.1"), ("es", "1:05,1")])
def test_times_have_the_decimal_sign_of_the_language(
    visitor: Visitor, system: RunningSystem, language: str, time: str
) -> None:
    task_id = system.add_long_task(visitor.email, 2)
    system.execute(
        f"UPDATE parts SET start_s = 65.1, end_s = 67 WHERE number = 0 AND task_id = '{task_id}'"
    )
    visitor.page.select_option("#language", language)
    visitor.show(f"task/{task_id}")
    expect(visitor.page.locator(".card .facts").first).to_contain_text(time)
