"""Pages of an owner's tasks: filters, order and cursor, as prepared queries.

Every page is read from one index, beginning at the cursor: its cost depends on its length, not on
how many tasks there are or how far the page is from the first one. Searching for text has no index;
a page of it examines at most SCAN_LIMIT tasks, fewer where long names are not ASCII, and may end
before it is full.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from unicodedata import normalize

from idrl_common.cursors import Position
from worker_server.api.queries import (
    CREATED_US,
    EXPIRY,
    LIST_FACTS,
    PARTS_TOTALS,
    PARTS_VERSION,
    ROW_VERSION,
    ListedTask,
)
from worker_server.db import PreparedQuery, fetch_json

SCAN_LIMIT = 5000
# A page of a search normalizes no further text once the squares of the lengths add up to this:
# PostgreSQL sorts combining marks in quadratic time, some 50 ms for a URL of nothing else.
_NORMALIZED_SQUARES = 10_000_000
# `tasks.*` does not include xmin, a system column.
_COLUMNS = "tasks.*, tasks.xmin AS row_xmin"
# Added to a page's version where another page follows.
_HAS_NEXT_PAGE = "goes on"


@dataclass(frozen=True)
class TaskFilter:
    """Conditions on tasks, None for any; `created_after` is inclusive, `created_before` is not."""

    statuses: tuple[str, ...] | None = None
    external_id: str | None = None
    batch_id: uuid.UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None


@dataclass(frozen=True)
class Page:
    """Some tasks in order, and where the next page begins: None on the last page."""

    tasks: list[ListedTask]
    end: Position | None

    @property
    def version(self) -> list[str]:
        """What the page's tag is made of: its rows' versions, and whether it has a next page."""
        rows = [task["row_version"] for task in self.tasks]
        return rows if self.end is None else [*rows, _HAS_NEXT_PAGE]


@dataclass(frozen=True)
class PageRequest:
    """One page of an owner's tasks, after the position `after`."""

    owner_id: int
    limit: int
    newest_first: bool = True
    after: Position | None = None
    where: TaskFilter = TaskFilter()


def fetch_page(request: PageRequest, fetch: Callable[..., Any] = fetch_json) -> Page:
    """Return the page."""
    shape, values = _shape(request)
    documents, last = fetch(_documents_query(shape), *values), None
    if request.where.text is not None:
        documents, last = documents["tasks"], documents["scanned_to"]
    tasks: list[ListedTask] = documents or []
    if len(tasks) > request.limit:
        tasks = tasks[: request.limit]
        last = tasks[-1]
    end = Position(last["created_us"], uuid.UUID(last["id"])) if last else None
    return Page(tasks, end)


def fetch_version(request: PageRequest) -> list[str]:
    """Return the page's `version`, for a fraction of the page's cost."""
    shape, values = _shape(request)
    rows: list[str] = fetch_json(_versions_query(shape), *values) or []
    return rows if len(rows) <= request.limit else [*rows[: request.limit], _HAS_NEXT_PAGE]


@dataclass(frozen=True)
class _Shape:
    """What the text of a query depends on."""

    newest_first: bool
    conditions: tuple[str, ...]  # names of _CONDITIONS, in the order of their values


# Type of the value and the condition that it stands in; $0 is replaced by the value's number.
_CONDITIONS = {
    "statuses": ("text[]", ""),
    "external_id": ("text", "tasks.external_id = $0"),
    "batch_id": ("uuid", "tasks.batch_id = $0"),
    "created_after": ("timestamptz", "tasks.created_at >= $0"),
    "created_before": ("timestamptz", "tasks.created_at < $0"),
    "text": ("text", ""),
    "cursor_time": ("timestamptz", ""),
    "cursor_id": ("uuid", ""),
}


def _shape(request: PageRequest) -> tuple[_Shape, list[object]]:
    where, after = request.where, request.after
    values = {
        "statuses": list(where.statuses) if where.statuses else None,
        "external_id": where.external_id,
        "batch_id": str(where.batch_id) if where.batch_id else None,
        "created_after": where.created_after,
        "created_before": where.created_before,
        "text": None if where.text is None else normalize("NFC", where.text),
        "cursor_time": after.created_at if after else None,
        "cursor_id": str(after.row_id) if after else None,
    }
    conditions = {name: value for name, value in values.items() if value is not None}
    shape = _Shape(request.newest_first, tuple(conditions))
    # One further row shows whether another page follows.
    return shape, [request.owner_id, request.limit + 1, *conditions.values()]


@cache
def _documents_query(shape: _Shape) -> PreparedQuery:
    order = _order(newest_first=shape.newest_first)
    tasks = f"""
        SELECT json_agg(task) FROM (
            SELECT {LIST_FACTS}, totals.* FROM ({_page(shape)}) AS tasks {EXPIRY}
            CROSS JOIN LATERAL ({PARTS_TOTALS}) AS totals ORDER BY {order}
        ) AS task
    """  # noqa: S608 # made of constants
    if "text" not in shape.conditions:
        return _prepared("tasks", shape, f"SELECT ({tasks})::text")
    scanned_to = f"""
        SELECT json_build_object('id', id, 'created_us', {CREATED_US}) FROM scanned AS tasks
        WHERE (SELECT count(*) FROM scanned) < (SELECT count(*) FROM ahead)
            AND (SELECT count(*) FROM matched) < $2
        ORDER BY {_order(newest_first=not shape.newest_first)} LIMIT 1
    """  # noqa: S608 # made of constants
    both = f"json_build_object('tasks', ({tasks}), 'scanned_to', ({scanned_to}))"
    return _prepared("tasks", shape, f"{_search(shape)} SELECT {both}::text")


@cache
def _versions_query(shape: _Shape) -> PreparedQuery:
    order = _order(newest_first=shape.newest_first)
    statement = f"""
        SELECT json_agg({ROW_VERSION} ORDER BY {order})::text
        FROM ({_page(shape)}) AS tasks {EXPIRY}
        CROSS JOIN LATERAL (
            SELECT {PARTS_VERSION} AS parts_version FROM parts WHERE task_id = tasks.id
        ) AS totals
    """  # noqa: S608 # made of constants
    return _prepared("versions", shape, statement)


def _prepared(prefix: str, shape: _Shape, statement: str) -> PreparedQuery:
    order = "newest" if shape.newest_first else "oldest"
    types = ", ".join(["bigint", "bigint", *(_CONDITIONS[name][0] for name in shape.conditions)])
    return PreparedQuery("_".join((prefix, order, *shape.conditions)), types, statement)


def _page(shape: _Shape) -> str:
    if "text" in shape.conditions:
        return f"SELECT {_COLUMNS} FROM tasks JOIN matched USING (id)"  # noqa: S608 # constants
    return _in_order(shape, _COLUMNS, "$2")


def _search(shape: _Shape) -> str:
    """Return the WITH clause of a search: what is examined, and what of it is found."""
    wanted = f"lower(${_number(shape, 'text')})"
    columns = "tasks.id, tasks.created_at, tasks.name, tasks.url"
    order = _order(newest_first=shape.newest_first)
    return f"""
        WITH ahead AS MATERIALIZED (
            {_in_order(shape, columns, str(SCAN_LIMIT + 1))}
        ), scanned AS MATERIALIZED (
            SELECT * FROM (
                SELECT tasks.*, row_number() OVER (ORDER BY {order}) AS place,
                    sum({_squares("name")} + {_squares("url")}) OVER (
                        ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                    ) AS squares_before
                FROM ahead AS tasks
            ) AS tasks
            WHERE place <= {SCAN_LIMIT} AND coalesce(squares_before, 0) < {_NORMALIZED_SQUARES}
        ), matched AS MATERIALIZED (
            SELECT id FROM scanned AS tasks
            WHERE strpos(lower({_composed("name")}), {wanted}) > 0
                OR strpos(lower({_composed("url")}), {wanted}) > 0
            ORDER BY {order} LIMIT $2
        )
    """  # noqa: S608 # made of constants


def _composed(column: str) -> str:
    """Return the column in NFC: macOS writes `é` in file names as two characters, people as one.

    ASCII, shorter to check than to normalize, stays as it is.
    """
    return f"CASE WHEN {_is_ascii(column)} THEN {column} ELSE normalize({column}) END"


def _squares(column: str) -> str:
    """Return the square of the column's length where `_composed` normalizes it, else 0."""
    squared = f"length({column})::bigint * length({column})"
    return f"CASE WHEN {_is_ascii(column)} THEN 0 ELSE coalesce({squared}, 0) END"


def _is_ascii(column: str) -> str:
    return f"octet_length({column}) = length({column})"


def _in_order(shape: _Shape, columns: str, limit: str) -> str:
    """Return the first rows after the cursor; with statuses, the first of each of them."""
    where, order = (
        _where_clause(shape),
        f"ORDER BY {_order(newest_first=shape.newest_first)} LIMIT {limit}",
    )
    if "statuses" not in shape.conditions:
        return f"SELECT {columns} FROM tasks WHERE {where} {order}"  # noqa: S608 # constants
    return f"""
        SELECT tasks.* FROM unnest(${_number(shape, "statuses")}) AS wanted(status)
        CROSS JOIN LATERAL (
            SELECT {columns} FROM tasks WHERE {where} AND tasks.status = wanted.status {order}
        ) AS tasks {order}
    """  # noqa: S608 # made of constants


def _where_clause(shape: _Shape) -> str:
    conditions = ["tasks.owner_id = $1"]
    conditions += [
        _CONDITIONS[name][1].replace("$0", f"${_number(shape, name)}")
        for name in shape.conditions
        if _CONDITIONS[name][1]
    ]
    if "cursor_time" in shape.conditions:
        cursor = f"(${_number(shape, 'cursor_time')}, ${_number(shape, 'cursor_id')})"
        comparison = "<" if shape.newest_first else ">"
        conditions.append(f"(tasks.created_at, tasks.id) {comparison} {cursor}")
    return " AND ".join(conditions)


def _number(shape: _Shape, condition: str) -> int:
    """Return the number of the condition's value: $1 is the owner, $2 how many rows are read."""
    return 3 + shape.conditions.index(condition)


def _order(*, newest_first: bool) -> str:
    direction = "DESC" if newest_first else "ASC"
    return f"tasks.created_at {direction}, tasks.id {direction}"
