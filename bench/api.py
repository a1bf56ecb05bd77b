"""The tasks service against a bare Flask view with the same responses; the cost of a hop."""

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import requests

from bench import paired, plots, stack, wrk
from bench.paired import Runs, Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.stack import Stack
from bench.wrk import Call
from idrl_common.token_verifier import TokenVerifier

_CONNECTIONS = 8  # as many as the service has threads
_LISTED = 20
_CLIP_BYTES = 1024**2
_MIN_OF_BARE = 0.6
_MAX_OF_FULL = 0.4
_BATCH = 500
_READERS = ("tasks_us", "postgres_us")
_TASK_ID = str(uuid.UUID(int=1))
_LONG_ID, _LONG_PARTS = str(uuid.UUID(int=2)), 100
_TASK, _LIST = Call([f"/tasks/{_TASK_ID}"]), Call([f"/tasks?max={_LISTED}"])
_LONG = Call([f"/tasks/{_LONG_ID}"])
_USER = {"email": "a@example.com", "password": "Heron-over-42-Lakes"}
_SOURCE = (
    '{"size_bytes": 9000, "duration_s": "60", "width": 1280, "height": 720,'
    ' "frame_rate": "30000/1001",'
    ' "video_codec": "h264", "audio_codec": "aac"}'
)
_PROGRAMS = ("bare", "tasks", "web", "nginx", "postgres")
_COLUMNS = ("call", "a second", "p50 ms", "p90 ms", "p99 ms", *(f"{name} µs" for name in _PROGRAMS))


def run(options: Options) -> Report:
    seconds = 1 if options.quick else 5
    with stack.running() as system:
        _insert_tasks(system)
        with stack.baseline(
            system, {"task": _answer(system, _TASK), "list": _answer(system, _LIST)}
        ) as bare_port:
            load = _loader(system, seconds)
            reads = paired.take_turns(_reads(system, bare_port, load), options.rounds)
        calls = {name: [load(port, call)] for name, (port, call) in _calls(system, seconds).items()}
        batches_s = [_batch_s(system) for _ in range(options.rounds)]
        token = _token_check(system)
    _plot(options, reads)
    tables = [
        Table(
            f"Looking, with {_CONNECTIONS} connections;"
            " processor time of each program for one call",
            _COLUMNS,
            _rows(reads),
        ),
        Table("Other calls, once each", _COLUMNS, _rows(calls)),
        Table("One token", ("check", "µs"), list(token.items())),
    ]
    batch = Comparison(
        f"a batch of {_BATCH} links, of 1 s",
        paired.ratio_of(batches_s, [1.0] * len(batches_s)),
        at_most=1,
    )
    figures = {"reads": reads, "calls": calls, "token_us": token, "batches_s": batches_s}
    return Report(tables, [*_comparisons(reads), batch], figures)


def _batch_s(system: Stack) -> float:
    """Return how long the tasks service takes to accept a batch of links, alone."""
    items = [{"url": f"http://example.com/{number}.mp4"} for number in range(_BATCH)]
    url = f"http://127.0.0.1:{system.installation.ports.tasks}/batches"
    headers = {"Authorization": f"Bearer {system.token}"}
    begin = time.perf_counter()
    requests.post(url, json={"items": items}, headers=headers, timeout=60).raise_for_status()
    return time.perf_counter() - begin


def _comparisons(reads: Runs) -> list[Comparison]:
    goals = (
        ("a task, tasks service", "a task, bare"),
        ("the list, tasks service", "the list, bare"),
    )
    comparisons = [
        Comparison(
            f"calls a second, {of} / {to}",
            paired.ratio(reads, of, to, "per_s"),
            at_least=_MIN_OF_BARE,
        )
        for of, to in goals
    ]
    for what in ("a task", "a long task", "the list"):
        of, to = f"{what}, tasks service, 304", f"{what}, tasks service"
        comparisons.append(
            Comparison(
                f"processor time, {of} / {to}",
                paired.ratio_of(*(list(map(_service_us, reads[name])) for name in (of, to))),
                at_most=_MAX_OF_FULL,
            )
        )
    for of, to in (
        ("a task, web app", "a task, tasks service"),
        ("a task, nginx", "a task, web app"),
    ):
        comparisons.append(
            Comparison(f"calls a second, {of} / {to}", paired.ratio(reads, of, to, "per_s"))
        )
    return comparisons


def _service_us(sample: Sample) -> float:
    """Return the processor time of the tasks service and of PostgreSQL for one call."""
    return sum(sample[name] for name in _READERS)


def _reads(
    system: Stack, bare_port: int, load: Callable[[int, Call], Sample]
) -> dict[str, Callable[[], Sample]]:
    ports = system.installation.ports
    methods = {
        "a task, bare": (bare_port, _TASK),
        "a task, tasks service": (ports.tasks, _TASK),
        "a task, web app": (ports.web, _TASK),
        "a task, nginx": (ports.nginx, _TASK),
        "the list, bare": (bare_port, _LIST),
        "the list, tasks service": (ports.tasks, _LIST),
        "a long task, tasks service": (ports.tasks, _LONG),
        "a long task, tasks service, 304": (ports.tasks, _conditional_call(system, _LONG)),
        "a task, tasks service, 304": (ports.tasks, _conditional_call(system, _TASK)),
        "the list, tasks service, 304": (ports.tasks, _conditional_call(system, _LIST)),
    }
    return {name: lambda method=method: load(*method) for name, method in methods.items()}  # type: ignore[misc] # binds the method


def _conditional_call(system: Stack, call: Call) -> Call:
    """Return the call as a client makes it that has the answer already."""
    return replace(call, if_none_match=_get(system, call).headers["ETag"])


def _calls(system: Stack, seconds: int) -> dict[str, tuple[int, Call]]:
    ports = system.installation.ports
    ids = [str(uuid.uuid4()) for _ in range(4000 * seconds)]
    insert = (
        "INSERT INTO tasks (id, owner_id, url, status) SELECT unnest(%s::uuid[]), %s, '', 'done'"
    )
    system.execute(insert, ids, stack.OWNER)
    submit = Call(["/tasks"], "POST", '{"url": "http://example.com/v.mp4"}')
    passwords = f'"password": "{_USER["password"]}", "password_2": "{_USER["password"]}"'
    sign_up = f'{{"username": "u%d", "email": "u%d@example.com", {passwords}}}'
    log_in = f'{{"email": "{_USER["email"]}", "password": "{_USER["password"]}"}}'
    clip = Call([f"/tasks/{_TASK_ID}/parts/0"])
    return {
        "POST /tasks, tasks service": (ports.tasks, submit),
        "POST /tasks, nginx": (ports.nginx, submit),
        "DELETE /tasks/<id>, tasks service": (
            ports.tasks,
            Call([f"/tasks/{task_id}" for task_id in ids], "DELETE"),
        ),
        "GET a clip of 1 MiB, nginx": (ports.nginx, clip),
        "POST /auth/signup, web app": (ports.web, Call(["/auth/signup"], "POST", sign_up)),
        "POST /auth/login, web app": (ports.web, Call(["/auth/login"], "POST", log_in)),
        "GET /health, tasks service": (ports.tasks, Call(["/health"])),
    }


def _loader(system: Stack, seconds: int) -> Callable[[int, Call], Sample]:
    token = system.token

    def load(port: int, call: Call) -> Sample:
        before = system.cpu_s()
        measured = wrk.load(port, call, token, seconds=seconds, connections=_CONNECTIONS)
        after = system.cpu_s()
        used = {
            name: (after[name] - before[name]) / measured["requests"] * 1e6
            for name in before
            if name in after
        }
        return measured | {f"{name}_us": used.get(name, 0.0) for name in _PROGRAMS}

    return load


def _insert_tasks(system: Stack) -> None:
    """Insert one task with three clips, one with a hundred, and more tasks than a list returns."""
    ids = [_TASK_ID, _LONG_ID, *(str(uuid.uuid4()) for _ in range(2 * _LISTED))]
    system.execute(
        "INSERT INTO tasks (id, owner_id, url, status, source, started_at, finished_at)"
        " SELECT unnest(%s::uuid[]), %s, 'http://example.com/v.mp4', 'done', %s, now(), now()",
        *(ids, stack.OWNER, _SOURCE),
    )
    system.execute(
        "INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s,"
        " status, progress, path,"
        " size_bytes, sha256, frames) SELECT id, n, owner_id, 600 * n, 600 * n + 600,"
        " 20 * n, 20 * n + 20, 'done', 100,"
        " 'clip.mp4', %s, repeat('ab', 32), 660 FROM tasks CROSS JOIN generate_series(0, %s) n"
        " WHERE n < 3 OR id = %s::uuid",
        *(_CLIP_BYTES, _LONG_PARTS - 1, _LONG_ID),
    )
    (system.installation.home.share / "clip.mp4").write_bytes(bytes(_CLIP_BYTES))
    sign_up = {"username": "a", "password_2": _USER["password"], **_USER}
    url = f"http://127.0.0.1:{system.installation.ports.web}/auth/signup"
    requests.post(url, json=sign_up, timeout=10).raise_for_status()


def _answer(system: Stack, call: Call) -> Any:  # noqa: ANN401 # JSON has no types
    return _get(system, call).json()


def _get(system: Stack, call: Call) -> requests.Response:
    url = f"http://127.0.0.1:{system.installation.ports.tasks}{call.paths[0]}"
    answer = requests.get(url, headers={"Authorization": f"Bearer {system.token}"}, timeout=10)
    answer.raise_for_status()
    return answer


def _token_check(system: Stack) -> dict[str, float]:
    """Return the microseconds for verifying a token at first, and again."""
    key, token = system.installation.secrets.jwt_public_key, system.token
    first = [_elapsed_us(TokenVerifier(key).verify, token) for _ in range(500)]
    verifier = TokenVerifier(key)
    again = [_elapsed_us(verifier.verify, token) for _ in range(500)]
    return {"the first time": statistics.median(first), "from then on": statistics.median(again)}


def _elapsed_us(check: Callable[[str], object], token: str) -> float:
    begin = time.perf_counter()
    check(token)
    return (time.perf_counter() - begin) * 1e6


def _rows(runs: Runs) -> list[tuple[str | float, ...]]:
    names = ("per_s", "p50_ms", "p90_ms", "p99_ms", *(f"{name}_us" for name in _PROGRAMS))
    return [(method, *(paired.median(runs, method, name) for name in names)) for method in runs]


def _plot(options: Options, reads: Runs) -> None:
    values = {method: paired.median(reads, method, "per_s") for method in reads}
    plots.bars(
        options.plots,
        "api",
        f"Reading tasks over {_CONNECTIONS} connections",
        "calls a second",
        values,
    )
