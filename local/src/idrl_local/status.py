"""Tells a person how the system of a home is: address, readiness, work, disk, processes."""

import shutil
from collections.abc import Iterator

import psycopg2
import requests

from idrl_local import settings_check, supervision, system
from idrl_local.home import Home
from idrl_local.programs import DATABASE, SUPERUSER, Installation

_COUNTS = """
    SELECT 'tasks', status, count(*) FROM tasks GROUP BY status
    UNION ALL
    SELECT 'parts', status, count(*) FROM parts GROUP BY status
"""
_TIMEOUT_S = 5


def lines(home: Home) -> Iterator[str]:
    """Yield the lines about a system whose supervisord runs."""
    settings = settings_check.remembered(home)
    installation = Installation(home, system.running_ports(home), home.secrets(), settings)
    yield f"address   {installation.url}"
    yield f"ready     {readiness(installation.web_url)}"
    yield from _work(home)
    usage = shutil.disk_usage(home.root)
    free, total = (round(value / 1024**3, 1) for value in (usage.free, usage.total))
    yield f"disk      {free} GiB of {total} GiB free for {home.root}"
    yield "processes"
    for name, state in supervision.program_states(home).items():
        yield f"  {name:8} {state.description}"


def readiness(url: str) -> str:
    """Return `yes`, or why the system takes no work now."""
    try:
        answer = requests.get(f"{url}/ready", timeout=_TIMEOUT_S)
    except requests.RequestException:
        return "no: the web app does not answer"
    if answer.ok:
        return "yes"
    try:
        return f"no: {answer.json()}"
    except ValueError:
        return f"no: status {answer.status_code}"


def _work(home: Home) -> Iterator[str]:
    try:
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=system.running_ports(home).postgres,
            user=SUPERUSER,
            password=home.secrets().postgres_password,
            dbname=DATABASE,
            connect_timeout=_TIMEOUT_S,
        )
    except psycopg2.OperationalError:
        yield "work      unknown: PostgreSQL does not answer"
        return
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_COUNTS)
            rows: list[tuple[str, str, int]] = cursor.fetchall()
    finally:
        connection.close()
    for table in ("tasks", "parts"):
        counts = sorted((status, count) for name, status, count in rows if name == table)
        yield f"{table:9} {', '.join(f'{count} {status}' for status, count in counts) or 'none'}"
