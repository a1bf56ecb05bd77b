"""Direct access to the database of a measured system."""

import psycopg2
from psycopg2.extensions import connection

from idrl_local.programs import DATABASE, SUPERUSER, Installation


def connect(installation: Installation) -> connection:
    """Return a superuser's connection."""
    return psycopg2.connect(
        host="127.0.0.1",
        port=installation.ports.postgres,
        dbname=DATABASE,
        user=SUPERUSER,
        password=installation.secrets.postgres_password,
    )
