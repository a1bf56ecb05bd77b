"""Numbers and words in the reader's language."""

import re

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


@pytest.mark.parametrize(("language", "time"), [("en", "1:05.52"), ("es", "1:05,52")])
def test_plan_has_the_decimal_sign_of_the_language(
    visitor: Visitor, system: RunningSystem, language: str, time: str
) -> None:
    page = visitor.page
    task_id = system.add_long_task(visitor.email, 1)
    system.execute(f"UPDATE tasks SET status = 'planned' WHERE id = '{task_id}'")
    system.execute(f"UPDATE parts SET start_s = 65.52, end_s = 67 WHERE task_id = '{task_id}'")
    page.select_option("#language", language)
    visitor.show(f"task/{task_id}")
    page.locator(".options-box summary").click()
    expect(page.locator("#plan")).to_have_value(f"{time} - 1:07")
    with page.expect_request(lambda request: request.method == "PATCH") as sent:
        page.locator(".options-box form button").click()
    assert sent.value.post_data_json == {"edit": {"segments": [{"start_s": 65.52, "end_s": 67}]}}


@pytest.mark.parametrize(("language", "share"), [("en", "3%"), ("es", "3\u00a0%")])
def test_progress_is_written_as_in_the_language(
    visitor: Visitor, system: RunningSystem, language: str, share: str
) -> None:
    system.add_tasks(visitor.email, 1, "queued")
    task_id = system.task_id(visitor.email, "Race 0")
    # Of the download: a tenth of the task.
    system.execute(f"UPDATE tasks SET progress = 34 WHERE id = '{task_id}'")
    visitor.page.select_option("#language", language)
    visitor.show(f"task/{task_id}")
    expect(visitor.page.locator(".progress p").first).to_have_text(re.compile(f" · {share}$"))


def test_used_part_of_a_limit_is_not_rounded_up_to_it(visitor: Visitor) -> None:
    usage = {
        "live_tasks": 0, "live_tasks_limit": None, "clips_bytes": 0, "uploads_bytes": 0,
        "sources_bytes": 0, "brands_bytes": 0, "clips_bytes_limit": None, "source_s_today": 5400,
        "source_s_today_limit": 7200, "rendered_s_this_month": 0,
    }  # fmt: skip
    visitor.page.route("**/usage", lambda route: route.fulfill(json=usage))
    visitor.page.select_option("#language", "es")
    visitor.open("account")
    expect(visitor.page.locator(".usage", has_text="Vídeo aceptado hoy")).to_contain_text(
        "1,5 h / 2 h"
    )


def test_refused_characters_and_times_are_explained_in_the_language(
    visitor: Visitor, video_url: str
) -> None:
    page = visitor.page
    page.select_option("#language", "es")
    page.fill("#links", video_url)
    page.locator("summary").click()
    for moments, reason in (
        (
            "0:00 - 0:01 vuelta\t1",
            "Lleva un carácter que no se admite, como un tabulador.",
        ),
        ("0:00 - 999:99:99", "Demasiado grande."),
    ):
        page.fill("#segments", moments)
        page.locator("form button.primary").click()
        expect(page.locator("#segments-error")).to_have_text(f"Línea 1: {reason}")


def test_refused_name_of_a_key_is_explained_at_its_field(visitor: Visitor) -> None:
    page = visitor.page
    visitor.show("account")
    page.select_option("#language", "es")
    page.fill("#key-name", "port\u200bátil")  # as copied from some web pages
    page.locator("form.inline button").click()
    name = page.locator("#key-name")
    expect(name).to_have_accessible_description("Lleva un carácter que no se ve.")
    expect(name).to_have_attribute("aria-invalid", "true")
    page.fill("#key-name", "portátil")
    page.locator("form.inline button").click()
    page.locator("dialog .code").wait_for()
    expect(name).not_to_have_attribute("aria-invalid", "true")


def test_status_of_the_system_is_in_the_language(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.execute(f"UPDATE users SET role = 'operator' WHERE email = '{visitor.email}'")
    visitor.log_in()  # tokens say whose they are: one of an operator is needed
    page.select_option("#language", "es")
    visitor.open("system")
    kinds = page.get_by_role("region", name="Procesos").locator("td:nth-child(2)")
    kinds.first.wait_for()
    assert set(kinds.all_inner_texts()) == {
        "Descargas", "Creación de clips", "Mantenimiento"
    }  # fmt: skip
