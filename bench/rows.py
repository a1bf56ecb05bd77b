"""The cost of lists and claims with a million rows, against few rows and by number of owners."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

import requests
from flask import Flask

from bench import paired, plots, stack, wrk
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.stack import Stack
from bench.wrk import Call
from worker_server.app import create_app
from worker_server.db import db
from worker_server.queue import claims
from worker_server.settings import Settings

_FEW = 10
_MAX_RATIO = 1.1
_OWNERS = (1, 100, 10_000)
_CLAIMS = 21
_TASKS = """
    INSERT INTO tasks (id, owner_id, url, status, created_at)
    SELECT gen_random_uuid(), n % {owners} + {first}, 'http://example.com/v.mp4', '{status}',
        now() - n * interval '1 s'
    FROM generate_series(1, {count}) n
"""
_PARTS = """
    INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s,
        status, created_at)
    SELECT id, n, owner_id, 0, 600, 0, 20, '{status}', created_at
    FROM tasks CROSS JOIN generate_series(0, {last}) n
    WHERE tasks.status = '{of}'
"""


def run(options: Options) -> Report:
    many = 10_000 if options.quick else 1_000_000
    lists = _lists(options, many)
    claims = _claims([count for count in (10, 10_000, 100_000, 1_000_000) if count <= many])
    curves = {
        f"{kind}, owners: {owners}": [
            (rows, ms) for k, rows, o, ms, _ in claims if (k, o) == (kind, owners)
        ]
        for kind in ("task", "part")
        for owners in _OWNERS
    }
    names = ("rows that wait", "ms, median")
    plots.lines(
        options.plots,
        "rows",
        "One claim",
        names,
        {k: v for k, v in curves.items() if v},
        scale="xy",
    )
    return Report(
        [
            Table("One list", ("list", "a second", "p50 ms", "p99 ms"), _rows(lists)),
            Table(
                "One claim",
                ("of a", "rows that wait", "owners", "ms, median", "ms, longest"),
                claims,
            ),
        ],
        _comparisons(lists),
        {"lists": lists},
    )


def _lists(options: Options, many: int) -> paired.Runs:
    """Two systems alternate: few tasks, and many (half of one owner, half of a thousand)."""
    seconds = 1 if options.quick else 5
    with ExitStack() as both:
        few, full = (both.enter_context(stack.running()) for _ in range(2))
        _finished(few, [(1, 1, _FEW)])
        _finished(full, [(1, 1, many), (2, 1000, many)])

        def sampler(system: Stack, owner: int, limit: int) -> Callable[[], paired.Sample]:
            call, port = Call([f"/tasks?max={limit}"]), system.installation.ports.tasks
            token = system.token_of(owner)
            return lambda: wrk.load(port, call, token, seconds=seconds, connections=8)

        methods = {
            f"max={limit}, {name}": sampler(system, owner, limit)
            for limit in (_FEW, 20)
            for name, system, owner in (
                (_table_name(1), few, 1),
                (_table_name(2), full, 1),
                (_table_name(3), full, 2),
            )
        }
        port, token = full.installation.ports.tasks, full.token_of(1)
        for place, rows in {"middle": many // 2, "end": many - 2 * _FEW}.items():
            call = Call([_page_behind(port, token, rows)])
            methods[f"max={_FEW}, a page near the {place}"] = lambda call=call: wrk.load(  # type: ignore[misc] # binds the call
                port, call, token, seconds=seconds, connections=8
            )
        return paired.take_turns(methods, 2 * options.rounds)


def _page_behind(port: int, token: str, rows: int) -> str:
    """Follow the links of long pages past this many rows; return the path of a short page there."""
    path = "/tasks?max=1000"
    for _ in range(rows // 1000):
        url = f"http://127.0.0.1:{port}{path}"
        answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        path = answer.links["next"]["url"]
    return path.replace("max=1000", f"max={_FEW}")


def _table_name(number: int) -> str:
    return {
        1: f"{_FEW} rows",
        2: "a million rows of one owner",
        3: "a million rows of a thousand owners",
    }[number]


def _comparisons(lists: paired.Runs) -> list[Comparison]:
    """Compare times; pages of ten are equally long in all tables, so only those have a goal."""
    first = f"max={_FEW}, {_table_name(2)}"
    deep = [
        Comparison(
            f"time of a page near the {place} of a million rows / of the first",
            paired.ratio(lists, first, f"max={_FEW}, a page near the {place}", "per_s"),
            at_most=_MAX_RATIO,
        )
        for place in ("middle", "end")
    ]
    return deep + [
        Comparison(
            f"time of a list, max={limit}, {_table_name(number)} / {_table_name(1)}",
            paired.ratio(
                lists,
                f"max={limit}, {_table_name(1)}",
                f"max={limit}, {_table_name(number)}",
                "per_s",
            ),
            at_most=_MAX_RATIO if limit == _FEW else None,
        )
        for limit in (_FEW, 20)
        for number in (2, 3)
    ]


def _finished(system: Stack, groups: list[tuple[int, int, int]]) -> None:
    for first, owners, count in groups:
        system.execute(_TASKS.format(first=first, owners=owners, count=count, status="done"))
    system.execute(_PARTS.format(status="done", of="done", last=0))
    system.execute("VACUUM ANALYZE tasks, parts")


def _claims(counts: list[int]) -> list[tuple[str, int, int, float, float]]:
    claim_times = []
    with stack.running(stores_only=True) as system:
        app = _app(system)
        for count in counts:
            for owners in (owners for owners in _OWNERS if owners <= count):
                _insert_waiting_rows(system, count, owners)
                for kind, claim in (("task", claims.claim_task), ("part", claims.claim_part)):
                    times = _claim_times_ms(app, claim)
                    claim_times.append((kind, count, owners, statistics.median(times), max(times)))
        with app.app_context():
            db.engine.dispose()
    return claim_times


def _claim_times_ms(app: Flask, claim: Callable[[str, float], object]) -> list[float]:
    """Return the time of each claim; the first is left out, since it connects to PostgreSQL."""
    times = []
    for _ in range(_CLAIMS):
        with app.app_context():
            begin = time.perf_counter()
            if claim("bench", 30) is None:
                break
            times.append((time.perf_counter() - begin) * 1000)
    return times[1:]


def _insert_waiting_rows(system: Stack, count: int, owners: int) -> None:
    """Insert `count` queued tasks and as many waiting parts, a hundred to a task."""
    system.execute("TRUNCATE tasks, parts CASCADE")
    system.execute(
        _TASKS.format(first=1, owners=owners, count=max(count // 100, owners), status="processing")
    )
    each = count // max(count // 100, owners)
    system.execute(_PARTS.format(status="waiting", of="processing", last=each - 1))
    system.execute(_TASKS.format(first=1, owners=owners, count=count, status="queued"))
    system.execute("VACUUM ANALYZE tasks, parts")


def _app(system: Stack) -> Flask:
    installation = system.installation
    return create_app(
        Settings(
            postgres_port=installation.ports.postgres,
            postgres_user="worker",
            postgres_password=installation.secrets.worker_db_password,
            jwt_public_key=installation.secrets.jwt_public_key,
            redis_url=installation.redis_url,
        )
    )


def _rows(lists: paired.Runs) -> list[tuple[str | float, ...]]:
    return [
        (method, *(paired.median(lists, method, name) for name in ("per_s", "p50_ms", "p99_ms")))
        for method in lists
    ]
