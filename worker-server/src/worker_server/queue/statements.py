"""Loads the SQL of this package: one statement a file, with a header that says what it does."""

from importlib.resources import files

from sqlalchemy import TextClause, text


def load(name: str) -> TextClause:
    """Return the statement in `sql/<name>.sql`, whose `:names` are its parameters."""
    return text(files(__package__).joinpath("sql", f"{name}.sql").read_text())
