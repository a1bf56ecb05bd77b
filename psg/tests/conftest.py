"""A database of a test's own, and migrations on it."""

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from idrl_testing.database import Database, create_database
from psg import migrate


@pytest.fixture
def scratch(postgres_port: int) -> Database:
    """An empty database of its own."""
    name = f"scratch_{uuid.uuid4().hex}"
    create_database(postgres_port, name)
    return Database(postgres_port, name=name)


@pytest.fixture
def engine(scratch: Database) -> Iterator[Engine]:
    engine = migrate.engine_for(scratch.settings())
    yield engine
    engine.dispose()
