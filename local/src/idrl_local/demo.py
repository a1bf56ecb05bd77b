"""The demo: from a link to clips through the public API, on a system that ends with it."""

import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from idrl_client import Client, IdrlError, TaskFailed
from idrl_client.client import ENDED
from idrl_client.downloads import fetch_part
from idrl_client.models import Task, TaskWithParts
from idrl_local import privileges, sample, supervision, system
from idrl_local.demo_options import DemoOptions
from idrl_local.home import Home, HomeUnusable, Ports, PortTaken, free_ports, port_from_environment
from idrl_local.pidlocks import PidLock

_SAMPLE_SECONDS = 45
_POLL_S = 0.5


def run(home: Home, options: DemoOptions, environment: Mapping[str, str]) -> int:
    """Make the clips, say where they are, end with one line of JSON on standard output.

    Returns the exit code. The caller has checked the options.

    The system has a home of its own under `demo/`, created for each run, so that no other system
    may fetch from the sample's address. None of its processes runs afterwards.
    """
    started = time.monotonic()
    home.create()
    folder = home.root / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    if privileges.is_root():
        for each in (home.root, folder):
            each.chmod(0o711)  # the system runs as another user
    lock = PidLock(folder / "demo.lock")
    if lock.is_locked():
        raise HomeUnusable(
            f"another demo is running in {folder}; set IDRL_HOME to have a second one"
        )
    try:
        with lock.hold():
            result = _run(folder, options, environment)
    except (
        IdrlError,
        *(sample.SampleFailed, system.SystemFailed, supervision.ProgramFailed),
    ) as error:
        _print(f"the demo failed: {error}")
        return 1
    print(json.dumps({**result, "elapsed_s": round(time.monotonic() - started, 1)}))
    return 0


def _run(folder: Path, options: DemoOptions, environment: Mapping[str, str]) -> dict[str, Any]:
    with (
        _source(folder, options.video, options.url, environment) as (source, settings),
        _system(folder / "system", options.at, settings) as address,
    ):
        _print(f"it is up at {address}")
        client = _signed_up(address)
        task = _await(client, client.create_task({"url": source}))
        clips = folder / "clips" / task["task_id"]
        parts = _download(client, task, clips)
    _print(f"{len(parts)} clips are in {clips}")
    return {"task_id": task["task_id"], "status": task["status"], "parts": parts}


def _signed_up(address: str) -> Client:
    name, password = f"demo-{secrets.token_hex(4)}", f"Aa1-{secrets.token_hex(8)}"
    return Client.signed_up(address, name, f"{name}@example.com", password)


@contextmanager
def _system(root: Path, at: str | None, settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the address of the system: the one that is up, else one of our own."""
    if at:
        yield at.rstrip("/")
        return
    _print("starting the system …")
    home = _fresh_home(root)
    with system.running(home, _ports(settings), settings, _print) as installation:
        yield installation.url


@contextmanager
def _source(
    folder: Path, video: str | None, url: str | None, environment: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the link of the video, and the settings under which the system may fetch it."""
    # The demo's client trusts public authorities alone, and none of them certifies 127.0.0.1.
    environment = {**environment, "TLS_CERT": "", "TLS_KEY": ""}
    if url:
        yield url, environment
        return
    path = Path(video) if video else folder / "sample.mp4"
    if not video:
        _print(f"making a sample of {_SAMPLE_SECONDS} s …")
        sample.make(path, seconds=_SAMPLE_SECONDS, width=1280, height=720)
    with sample.served(path) as address:
        yield address, {**environment, "FETCH_ALLOW_HOSTS": "127.0.0.1"}


def _await(client: Client, accepted: Task) -> TaskWithParts:
    """Follow the task to its end, showing its progress; raise TaskFailed if it fails."""
    task = client.task(accepted["task_id"])
    while task["status"] not in ENDED:
        time.sleep(_POLL_S)
        task = client.task(task["task_id"])
        parts = f"{task['parts_done']} of {task['parts_total'] or '?'} parts"
        _progress(f"{task['progress']:3} %  {task['status']}, {parts}")
    _progress_done()
    if task["status"] != "done":
        reason = task["error"] or {"code": task["status"], "message": "The task was stopped."}
        raise TaskFailed(f"{reason['message']} ({reason['code']})")
    return task


def _download(client: Client, task: TaskWithParts, clips: Path) -> list[dict[str, Any]]:
    clips.mkdir(parents=True)
    summaries = []
    for part in task["parts"]:
        path = clips / f"part-{part['number']:02}.mp4"
        fetch_part(client.connection, part, path)
        size_bytes = path.stat().st_size
        summaries.append(
            {
                "number": part["number"],
                "path": str(path),
                "seconds": _seconds(path),
                "bytes": size_bytes,
            }
        )
    return summaries


def _seconds(clip: Path) -> float:
    with av.open(clip) as container:
        return round((container.duration or 0) / av.time_base, 3)


def _fresh_home(root: Path) -> Home:
    """Return an empty home, with nothing of a demo that was killed."""
    home = Home(root)
    system.down(home)
    shutil.rmtree(root)
    return home


def _ports(environment: Mapping[str, str]) -> Ports:
    """Return the usual ports, or others if those are taken: a running system is left alone."""
    ports = Ports.starting_at(port_from_environment(environment))
    try:
        ports.check_free()
    except PortTaken:
        return free_ports()
    return ports


def _progress(line: str) -> None:
    """Show a line that the next one replaces on a terminal; in a log every line stays."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    else:
        _print(line)


def _progress_done() -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
