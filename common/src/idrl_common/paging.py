"""Pages of lists: `max`, `cursor`, and `Link` where there is more.

The list of tasks makes its own pages, since a search may stop before a page is full.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

from flask import Response, jsonify, request

from idrl_common import cursors
from idrl_common.cursors import Position
from idrl_common.validation import CleanStr, Query, parse_query


class PageQuery(Query):
    """The query of a list; each list has its own `max`."""

    max: int
    cursor: CleanStr | None = None


class _Created(Protocol):
    @property
    def id(self) -> uuid.UUID: ...
    @property
    def created_at(self) -> datetime: ...


Row = TypeVar("Row")
CreatedRow = TypeVar("CreatedRow", bound=_Created)
# Takes a limit and a position: returns at most `limit` rows, those after the position if any.
RowsAfter = Callable[[int, Position | None], Sequence[Row]]


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list, and the cursor of the next page; None on the last page."""

    rows: Sequence[Row]
    cursor: str | None

    def linked(self, response: Response) -> Response:
        """Return the response with a link to the next page, where there is one."""
        if self.cursor is not None:
            response.headers["Link"] = next_link(self.cursor)
        return response


def position_of(row: _Created) -> Position:
    """Return where a row stands in order of creation."""
    return Position.at(row.created_at, row.id)


def page_response(
    query: type[PageQuery],
    list_name: str,
    owner_id: int,
    rows_after: RowsAfter[CreatedRow],
    document: Callable[[CreatedRow], Any],
) -> Response:
    """Answer with the page of the owner's list that the request's query names.

    Raise a 400 Problem or CursorInvalid.
    """
    return page_by_position(query, list_name, owner_id, rows_after, document, position_of)


def page_by_position(
    query: type[PageQuery],
    list_name: str,
    owner_id: int,
    rows_after: RowsAfter[Row],
    document: Callable[[Row], Any],
    position: Callable[[Row], Position],
) -> Response:
    """As `page_response`, for rows whose order is by `position`."""
    page = read_page(parse_query(query), list_name, owner_id, rows_after, position)
    return page.linked(jsonify([document(row) for row in page.rows]))


def read_page(
    requested: PageQuery,
    list_name: str,
    owner_id: int,
    rows_after: RowsAfter[Row],
    position: Callable[[Row], Position],
) -> Page[Row]:
    """Return the requested page of rows whose order is by `position`; raise CursorInvalid."""
    after = None
    if requested.cursor is not None:
        after = cursors.decode(requested.cursor, owner_id, list_name)
    rows = rows_after(requested.max + 1, after)
    page = rows[: requested.max]
    is_last = len(rows) == len(page)
    return Page(page, None if is_last else cursors.encode(position(page[-1]), owner_id, list_name))


def next_link(cursor: str) -> str:
    """Return the Link header to the next page: the same call, with the cursor."""
    parameters = {name: values[-1] for name, values in request.args.lists()}
    path = quote(request.path)  # an id in it may be written with what no header can have
    return f'<{path}?{urlencode({**parameters, "cursor": cursor})}>; rel="next"'
