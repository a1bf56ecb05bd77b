"""Pages of GET /tasks: cursors, filters, and a cost that does not depend on where a page is."""

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Literal, cast
from unicodedata import normalize
from urllib.parse import quote

import psycopg2
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server.api import task_pages
from worker_testing import URL, post, problem

Auth = Callable[..., dict[str, str]]
_FEW, _MANY = 30, 20_000


def _fill(database: Database, count: int, owner_id: int = 1) -> None:
    """Insert finished tasks, one a second, every tenth failed, in pairs of one external id."""
    database.execute(f"""
        INSERT INTO tasks (id, owner_id, url, name, external_id, status, created_at)
        SELECT gen_random_uuid(), {owner_id}, 'http://example.com/' || n || '.mp4', 'Race ' || n,
            'order-' || n / 2, CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'done' END,
            '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 s'
        FROM generate_series(0, {count - 1}) n
    """)


def _next_link(response: TestResponse) -> str | None:
    link = response.headers.get("Link")
    if link is None:
        return None
    next_link = re.fullmatch(r'<(/tasks\?[^>]+)>; rel="next"', link)
    assert next_link
    return next_link[1]


def _pages(
    client: FlaskClient, headers: dict[str, str], path: str
) -> Iterator[list[dict[str, Any]]]:
    target: str | None = path
    while target:
        response = client.get(target, headers=headers)
        assert response.status_code == 200, response.text
        yield response.get_json()
        target = _next_link(response)


def _numbers(page: list[dict[str, Any]]) -> list[int]:
    """Return the numbers that `_fill` has given the tasks."""
    return [int(task["url"].rpartition("/")[2].removesuffix(".mp4")) for task in page]


def _listed(client: FlaskClient, headers: dict[str, str], path: str) -> list[int]:
    return [number for page in _pages(client, headers, path) for number in _numbers(page)]


@pytest.mark.parametrize("order", [0, 1])
def test_pages_show_every_task_once_in_order(
    client: FlaskClient, auth: Auth, database: Database, order: int
) -> None:
    _fill(database, _FEW)
    _fill(database, _FEW, owner_id=2)
    # Tasks of one batch have one time to the second; order is then by microsecond and id.
    database.execute("UPDATE tasks SET created_at = date_trunc('minute', created_at)")
    (whole,) = _pages(client, auth(), f"/tasks?max=1000&order={order}")
    paged = [
        task for page in _pages(client, auth(), f"/tasks?max=7&order={order}") for task in page
    ]
    assert [task["task_id"] for task in paged] == [task["task_id"] for task in whole]
    assert len(whole) == len({task["task_id"] for task in whole}) == _FEW


_PAGED = (("max=30", [30]), ("max=15", [15, 15]), ("max=29", [29, 1]), ("q=race&max=10", [10] * 3))


def test_last_page_has_no_link_also_when_it_is_full(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    _fill(database, _FEW)
    for query, lengths in (*_PAGED, ("status=failed&max=3", [3]), ("status=failed&max=1", [1] * 3)):
        for order in (0, 1):
            pages = _pages(client, auth(), f"/tasks?{query}&order={order}")
            assert [len(page) for page in pages] == lengths, query


def test_full_last_page_gets_its_link_with_another_tag(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    """Else a caller who polls with the tag would never learn of the next page."""
    _fill(database, _FEW)
    for query in ("max=30&order=0", "q=e&max=30&order=0"):
        full = client.get(f"/tasks?{query}", headers=auth())
        assert _next_link(full) is None
        task = post(client, auth()).get_json()
        known = {**auth(), "If-None-Match": full.headers["ETag"]}
        again = client.get(f"/tasks?{query}", headers=known)
        assert again.status_code == 200
        target = _next_link(again)
        assert target is not None
        (behind,) = _pages(client, auth(), target)
        assert [each["task_id"] for each in behind] == [task["task_id"]]
        database.execute(f"DELETE FROM tasks WHERE id = '{task['task_id']}'")
        assert client.get(f"/tasks?{query}", headers=known).status_code == 304


def test_pages_stay_in_place_while_tasks_come_and_go(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    _fill(database, _FEW)
    first = client.get("/tasks?max=10", headers=auth())
    shown = _numbers(first.get_json())
    post(client, auth())
    database.execute("DELETE FROM tasks WHERE name = 'Race 20'")  # the last of the first page
    target = _next_link(first)
    assert target is not None
    assert shown + _listed(client, auth(), target) == list(range(_FEW - 1, -1, -1))


def test_time_of_a_cursor_is_exact_to_the_microsecond(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    _fill(database, 9)
    database.execute(
        "UPDATE tasks SET created_at = '2026-01-01T00:00:00.123Z'::timestamptz"
        " + substr(name, 6)::int * interval '1 microsecond'"
    )
    assert _listed(client, auth(), "/tasks?max=2&order=0") == list(range(9))


_FILTERS: list[tuple[str, set[int]]] = [
    ("status=failed", {0, 10, 20}),
    ("status=failed,queued", {0, 10, 20}),
    ("status=failed,done", set(range(_FEW))),
    ("status=canceled", set()),
    ("external_id=order-3", {6, 7}),
    ("external_id=order", set()),
    ("created_after=2026-01-01T00:00:28Z", {28, 29}),
    ("created_before=2026-01-01T00:00:02Z", {0, 1}),
    (f"created_after={quote('2026-01-01T02:00:28+02:00')}", {28, 29}),
    ("created_after=2026-01-01T00:00:03.5Z&created_before=2026-01-01T00:00:06Z", {4, 5}),
    ("q=race%2029", {29}),
    ("q=EXAMPLE.com/7.mp4", {7}),
    ("q=%25", set()),
    ("q=_", set()),
    ("q=9&status=failed", set()),
    ("q=1&status=failed&external_id=order-5", {10}),
    (f"batch_id={uuid.uuid4()}", set()),
]


def test_filters(client: FlaskClient, auth: Auth, database: Database) -> None:
    _fill(database, _FEW)
    _fill(database, _FEW, owner_id=2)
    for query, expected in _FILTERS:
        for order in (0, 1):
            in_order = sorted(expected, reverse=order == 1)
            path = f"/tasks?max=2&order={order}&{query}"
            assert _listed(client, auth(), path) == in_order, path


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_search_finds_letters_however_they_are_composed(
    client: FlaskClient, auth: Auth, form: Literal["NFC", "NFD"]
) -> None:
    """macOS writes `é` in the names of files as `e` and an accent."""
    names = {"NFC": "Café 1.mp4", "NFD": "CAFÉ 2.mp4"}
    for kind, name in names.items():
        task = {"url": URL, "name": normalize(cast(Literal["NFC", "NFD"], kind), name)}
        assert client.post("/tasks", json=task, headers=auth()).status_code == 202
    wanted = quote(normalize(form, "fé"))
    tasks = client.get(f"/tasks?q={wanted}&order=0", headers=auth()).get_json()
    assert [normalize("NFC", task["name"]) for task in tasks] == list(names.values())
    for plain in ("fe", "caf%CC%81"):
        assert client.get(f"/tasks?q={plain}", headers=auth()).get_json() == []


def test_search_examines_a_bounded_number_of_tasks_a_page(
    client: FlaskClient, auth: Auth, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages may be empty, and the tasks are tasks all the same by following the links."""
    monkeypatch.setattr(task_pages, "SCAN_LIMIT", 10)
    task_pages._documents_query.cache_clear()
    _fill(database, _FEW)
    pages = list(_pages(client, auth(), "/tasks?q=race%202&max=2&order=0"))
    task_pages._documents_query.cache_clear()
    assert [len(page) for page in pages] == [1, 0, 2, 2, 2, 2, 2]
    assert [n for page in pages for n in _numbers(page)] == [2, *range(20, 30)]


def test_search_takes_no_quadratic_time_for_combining_marks(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    """PostgreSQL, which ends a statement after 10 s, sorts them for 50 ms in each of these URLs."""
    database.execute("""
        INSERT INTO tasks (id, owner_id, url, name, status, created_at)
        SELECT gen_random_uuid(), 1, 'http://example.com/'
            || repeat(U&'\\0301', 1000) || repeat(U&'\\0323', 1000), 'Race ' || n, 'done',
            '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 s'
        FROM generate_series(1, 500) n
    """)
    pages = _pages(client, auth(), "/tasks?q=race%201&order=0")
    assert [task["name"] for task in next(pages)] == ["Race 1"]
    later = [task["name"] for _ in range(3) for task in next(pages)]
    assert later == ["Race 10", "Race 11", "Race 12"]


def test_cursor_of_another_list_is_refused(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    _fill(database, _FEW)
    _fill(database, _FEW, owner_id=2)
    target = _next_link(client.get("/tasks?max=5&status=done", headers=auth()))
    assert target is not None
    assert client.get(target.replace("max=5", "max=9"), headers=auth()).status_code == 200
    others = [
        (target, auth(2)),
        (target.replace("status=done", "status=failed"), auth()),
        (target.replace("status=done", "order=0&status=done"), auth()),
        (f"{target}&q=race", auth()),
    ]
    for other, headers in others:
        assert problem(client.get(other, headers=headers)) == (400, "cursor_invalid"), other


_GARBLED = (
    *("", "x", "{0:.37}", "{0}A", "{0:.36}AAAA", "AAAA{0}", "{0}{0}", "{0:.20}%0A{0}"),
    *("\u00e9" * 40, "A" * 3000),
)


def test_garbled_cursor_is_refused(client: FlaskClient, auth: Auth, database: Database) -> None:
    _fill(database, _FEW)
    target = _next_link(client.get("/tasks?max=5", headers=auth()))
    assert target is not None
    cursor = target.rpartition("=")[2]
    for garbled in _GARBLED:
        response = client.get(f"/tasks?max=5&cursor={garbled.format(cursor)}", headers=auth())
        assert problem(response) == (400, "cursor_invalid"), garbled


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=", "status"),
        ("status=done,", "status"),
        ("status=DONE", "status"),
        ("status=waiting", "status"),
        ("external_id=", "external_id"),
        (f"external_id={'x' * 129}", "external_id"),
        ("external_id=%00", "external_id"),
        ("batch_id=1", "batch_id"),
        ("created_after=1767225600", "created_after"),
        ("created_after=2026-01-01", "created_after"),
        ("created_after=2026-01-01T00:00:00", "created_after"),
        ("created_before=2026-02-30T00:00:00Z", "created_before"),
        ("created_before=now", "created_before"),
        ("q=", "q"),
        (f"q={'x' * 201}", "q"),
        ("q=%00", "q"),
        ("page=2", "page"),
    ],
)
def test_wrong_parameter_is_named(client: FlaskClient, auth: Auth, query: str, field: str) -> None:
    response = client.get(f"/tasks?{query}", headers=auth())
    assert problem(response) == (400, "invalid_query")
    assert [error["field"] for error in response.get_json()["errors"]] == [field]


def test_offset_whose_plus_is_not_encoded_is_explained(client: FlaskClient, auth: Auth) -> None:
    response = client.get("/tasks?created_after=2026-01-01T02:00:28+02:00", headers=auth())
    assert problem(response) == (400, "invalid_query")
    (error,) = response.get_json()["errors"]
    assert error["code"] == "time_invalid"
    assert "%2B" in error["message"]


_CURSOR = "2026-01-01T02:46:40Z", str(uuid.UUID(int=2**127))


_CONDITIONS: tuple[dict[str, object], ...] = (
    {},
    {"statuses": ["failed"]},
    {"statuses": ["done", "failed", "queued"]},
    {"external_id": "order-5000"},
    {"created_after": "2026-01-01T00:10:00Z"},
    {"created_before": "2026-01-01T05:00:00Z"},
)


def test_page_in_the_middle_is_read_from_an_index_alone(database: Database) -> None:
    """No page is sorted out of more rows than its statuses times its length, nor skips rows."""
    _fill(database, _MANY)
    database.execute("ANALYZE tasks")
    for conditions in _CONDITIONS:
        for newest_first in (True, False):
            shape = task_pages._Shape(newest_first, (*conditions, "cursor_time", "cursor_id"))
            query = task_pages._documents_query(shape)
            values = [1, 10, *conditions.values(), *_CURSOR]
            arguments = ", ".join(
                f"ARRAY{value}" if isinstance(value, list) else f"'{value}'" for value in values
            )
            plan = database.explain_prepared(query.types, query.statement, arguments)
            scans = [node for node in _nodes(plan) if node.get("Relation Name") == "tasks"]
            assert scans
            for node in scans:
                assert node["Node Type"] == "Index Scan", conditions
                assert node["Index Name"].startswith("tasks_")
                assert node["Actual Rows"] <= 10
                assert node.get("Rows Removed by Filter", 0) == 0


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


@pytest.mark.parametrize("offset", ["+19:29", "-23:59", "+15:59"])
def test_time_may_have_any_offset(client: FlaskClient, auth: Auth, offset: str) -> None:
    target = f"/tasks?created_before={quote('0209-12-12T16:01:04' + offset)}"
    response = client.get(target, headers=auth())
    assert (response.status_code, response.get_json()) == (200, [])


def test_time_outside_the_calendar_is_refused(client: FlaskClient, auth: Auth) -> None:
    target = f"/tasks?created_after={quote('0001-01-01T00:00:00+10:00')}"
    assert problem(client.get(target, headers=auth())) == (400, "invalid_query")


def test_account_may_ask_for_few_long_lists_at_once(
    app: Flask, auth: Auth, database: Database
) -> None:
    """Each takes the processor for as long as fifty short ones."""

    def listed(count: int) -> TestResponse:
        path = f"/tasks?max={count}"
        return app.test_client().get(path, headers=auth())

    def waiting() -> int:
        blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return len(database.execute(blocked))

    with ThreadPoolExecutor(3) as pool:
        with closing(
            psycopg2.connect(
                host=database.host,
                port=database.port,
                dbname=database.name,
                user=database.superuser,
                password=database.password,
            )
        ) as blocker:
            blocker.cursor().execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            calls = [pool.submit(listed, 1000) for _ in range(2)]
            wait_until(lambda: waiting() == 2)
            assert problem(listed(1000)) == (429, "too_many_requests")
            # A short one waits for nothing but the table.
            calls += [pool.submit(listed, 200)]
            wait_until(lambda: waiting() == 3)
        assert [call.result().status_code for call in calls] == [200] * 3
    assert listed(1000).status_code == 200
