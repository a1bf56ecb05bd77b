"""The text of `make status`: address, readiness, work, disk, processes."""

import shutil
from collections.abc import Iterator

import psycopg2
import requests

from idrl_common import processes
from idrl_local import servers, settings_check, supervision, system, tls
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
    settings = settings_check.stored_settings(home)
    installation = Installation(home, system.running_ports(home), home.secrets(), settings)
    yield f"address   {installation.url}"
    yield from _certificate(installation)
    yield from _readiness(installation)
    yield from _work(home)
    usage = shutil.disk_usage(home.root)
    free, total = (round(value / 1024**3, 1) for value in (usage.free, usage.total))
    yield f"disk      {free} GiB of {total} GiB free for {home.root}"
    yield "processes"
    yield from _processes(home)


def _certificate(installation: Installation) -> Iterator[str]:
    """Yield until when the certificate is valid that nginx has read."""
    path = installation.home.run / "nginx" / tls.CERTIFICATE
    if installation.environment.get("TLS_CERT") and path.exists():
        yield f"TLS       the certificate is {tls.state_of(path)[1]}"


def _readiness(installation: Installation) -> Iterator[str]:
    """Yield what each app says of itself and of what it depends on."""
    tasks_url = f"http://127.0.0.1:{installation.ports.tasks}"
    for app, url in (("web", installation.web_url), ("tasks", tasks_url)):
        yield f"ready     {app}: {readiness(url)}"
    if not servers.nginx_answers(installation.reachable_host, installation.ports.nginx):
        yield f"ready     nginx: does not answer at {installation.url}"


def readiness(url: str) -> str:
    """Return `yes`, or which checks of the app at `url` fail."""
    try:
        answer = requests.get(f"{url}/ready", timeout=_TIMEOUT_S)
        document = answer.json()
    except (requests.RequestException, ValueError):
        return "does not answer"
    if document["status"] == "ready":
        return "yes"
    checks = document["checks"].items()
    failed = (f"{name} ({result['detail']})" for name, result in checks if not result["ok"])
    return f"{document['status']}: {', '.join(failed)}"


def _processes(home: Home) -> Iterator[str]:
    """Yield a line for each process, by the kernel; by supervisord too unless that is stopped."""
    states = {state.name: state for state in processes.read_states(home.run)}
    supervisord = states.pop(supervision.SUPERVISORD, None)
    if supervisord is None or not supervisord.is_up:
        yield f"  {supervision.SUPERVISORD} STOPPED: it restarts nothing"
        described = dict.fromkeys(states, "")
    else:
        try:
            programs = supervision.program_states(home)
        except supervision.NoAnswer as error:
            yield f"  {error}"
            return
        described = {name: state.description for name, state in programs.items()}
    for name, description in described.items():
        is_stopped = name in states and states[name].is_stopped
        state = "STOPPED by a signal" if is_stopped else description
        yield f"  {name:8} {state}".rstrip()


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
