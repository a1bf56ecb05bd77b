"""Loads the SQL of this package: one statement a file, with a header that says what it does."""

import uuid
from importlib.resources import files

from sqlalchemy import TextClause, text

from worker_server.db import transaction

_PAGE_ROWS = 5000


def load(name: str) -> TextClause:
    """Return the statement in `sql/<name>.sql`, whose `:names` are its parameters."""
    return text(files(__package__).joinpath("sql", f"{name}.sql").read_text())


def for_each_page(statement: TextClause, hours: int) -> None:
    """Execute the statement for all rows of its table, page by page, each in a transaction.

    It takes `after`, `limit` and `hours`, and returns the page's last id. One statement for a large
    table would exceed the statement timeout, each time.
    """
    last: uuid.UUID | None = uuid.UUID(int=0)
    while last is not None:
        with transaction() as session:
            values = {"after": last, "limit": _PAGE_ROWS, "hours": hours}
            last = session.scalar(statement, values)
