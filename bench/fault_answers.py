"""Responses during faults: latency, refusals, and the time until calls succeed again."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from urllib.parse import urlsplit

from chaos.callers import Caller, Stream
from chaos.faults import KINDS
from chaos.history import History
from chaos.target import Target
from chaos.traffic import Traffic
from idrl_local import supervision
from idrl_testing.background import repeating

Figures = dict[str, list[float]]
_SETTLE_S = 3.0
_READERS = 100
_READER_BYTES_PER_S = 1024
_READ_S = 10
_FROZEN = ("postgres_frozen", "redis_frozen", "tasks_frozen", "share_frozen", "sweep_frozen")
_FROZEN_S = 20


def restarts(target: Target, rounds: int) -> Figures:
    """Reload and restart web and tasks under 200 requests a second through nginx."""
    caller, path = _finished_task(target)
    figures: Figures = {}
    for program in ("web", "tasks"):
        actions: dict[str, Callable[[str], None]] = {
            "reload": lambda name: supervision.reload_program(target.home, name),
            "restart": lambda name: supervision.restart_program(target.home, name),
        }
        for action, act in actions.items():
            runs = [_under_load(target, caller, path, program, act) for _ in range(rounds)]
            name = f"{action} of {program} at 200 requests/s"
            figures[f"{name}: resets"] = [float(run.resets() + run.other_errors()) for run in runs]
            figures[f"{name}: seconds with a 502 or 503"] = [run.refused_s() for run in runs]
    return figures


def slow_readers(target: Target, rounds: int) -> Figures:
    """Read a clip over a hundred connections at 1 KB/s each, and time others' GETs."""
    caller, path = _finished_task(target)
    clip = f"{path}/parts/0"
    ratios = []
    for _ in range(rounds):
        idle = _read_traffic(target, caller, path)
        with _readers(target, caller, clip):
            busy = _read_traffic(target, caller, path)
        ratios.append(busy.p95_s() / idle.p95_s())
    return {"100 readers at 1 KB/s: p95 of others' GET, of that when idle": ratios}


def longest(target: Target, rounds: int) -> Figures:  # noqa: ARG001 # each fault once
    """Call everything during each fault in which something hangs."""
    answers: list[float] = []
    health: list[float] = []
    caller, path = _finished_task(target)
    for fault in KINDS:
        if fault.name not in _FROZEN or fault.unavailable(target):
            continue
        fault.inject(target, Random(1))  # noqa: S311 # a seed, no secret
        try:
            _call_everything(target, caller, path, answers, health)
        finally:
            fault.recover(target)
            target.wait_until_ready()
    return {
        "longest answer in any fault, s": [max(answers)],
        "longest /health in any fault, s": [max(health)],
    }


def _call_everything(
    target: Target, caller: Caller, path: str, answers: list[float], health: list[float]
) -> None:
    until = time.monotonic() + _FROZEN_S
    history = caller.history
    short = target.sources.get("short.mp4")
    calls: list[Callable[[], object]] = [
        lambda: caller.call("GET", path, path),
        lambda: caller.call("GET", "/tasks", "/tasks"),
        lambda: caller.call("GET", f"{path}/parts/0", "clip"),
        lambda: caller.delete(caller.submit(short)),
        lambda: caller.call("GET", "/ready", "/ready"),
        lambda: caller.call("GET", "/health", "/health"),
    ]
    first = len(history.calls)

    def repeat(call: Callable[[], object]) -> None:
        while time.monotonic() < until:
            call()
            time.sleep(0.1)

    threads = [threading.Thread(target=repeat, args=(call,)) for call in calls for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for made in history.calls[first:]:
        (health if made.path == "/health" else answers).append(made.elapsed_s)


def _under_load(
    target: Target, caller: Caller, path: str, program: str, act: Callable[[str], None]
) -> Traffic:
    traffic = Traffic(target, path, str(caller.client.token))
    with traffic.flowing():
        time.sleep(_SETTLE_S)
        act(program)
        target.wait_until_ready()
        time.sleep(_SETTLE_S)
    return traffic


def _finished_task(target: Target) -> tuple[Caller, str]:
    caller = Stream(target.installation.url, target.sources, History(), seed=1).callers[0]
    submission = caller.submit(target.sources.get("long.mp4"))
    caller.client.finish(str(submission.task_id))
    return caller, f"/tasks/{submission.task_id}"


def _read_traffic(target: Target, caller: Caller, path: str) -> Traffic:
    traffic = Traffic(target, path, str(caller.client.token), rate_per_s=50)
    with traffic.flowing():
        time.sleep(_READ_S)
    return traffic


@contextmanager
def _readers(target: Target, caller: Caller, path: str) -> Iterator[None]:
    """Keep a hundred downloads going, each at 1 KB/s, with small receive buffers."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(_reader(target, caller, path)) for _ in range(_READERS)]

        def read() -> None:
            for each in sockets:
                with suppress(BlockingIOError):
                    each.recv(_READER_BYTES_PER_S, socket.MSG_DONTWAIT)

        with repeating(read, every_s=1):
            yield


def _reader(target: Target, caller: Caller, path: str) -> socket.socket:
    address = urlsplit(target.installation.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((address.hostname, address.port))
    request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
    request += f"Authorization: Bearer {caller.client.token}\r\n\r\n"
    connection.sendall(request.encode())
    return connection
