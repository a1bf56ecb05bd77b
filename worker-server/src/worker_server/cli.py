"""Commands for operators: `flask --app worker_server.wsgi work pause|resume|drain|status`."""

import time

import click
from flask import Flask

from idrl_common.commands import DatabaseCommands
from worker_server.queue import pauses
from worker_server.queue.claims import Kind

_POLL_S = 1.0
_kinds = click.argument("kinds", nargs=-1, type=click.Choice([kind.value for kind in Kind]))
work = DatabaseCommands(
    "work", help="Pause, resume or drain the work on all machines; show its state."
)


def install(app: Flask) -> None:
    """Give the app the commands."""
    app.cli.add_command(work)


@work.command()
@_kinds
def pause(kinds: tuple[str, ...]) -> None:
    """Let workers finish what they claimed and claim nothing new."""
    for kind in _chosen(kinds):
        pauses.pause(kind)
    _show()


@work.command()
@_kinds
def resume(kinds: tuple[str, ...]) -> None:
    """Let workers claim work again."""
    for kind in _chosen(kinds):
        pauses.resume(kind)
    _show()


@work.command()
@click.option("--timeout-s", default=3600.0, help="How long to wait for running work.")
@_kinds
def drain(kinds: tuple[str, ...], timeout_s: float) -> None:
    """Pause, and wait until nothing runs; the exit status is 1 at the timeout."""
    chosen, deadline = _chosen(kinds), time.monotonic() + timeout_s
    for kind in chosen:
        pauses.pause(kind)
    while any(pauses.status_of(kind).running for kind in chosen):
        if time.monotonic() > deadline:
            _show()
            raise SystemExit(1)
        time.sleep(_POLL_S)
    _show()


@work.command()
def status() -> None:
    """Show for each kind whether it is paused, how much waits and how much runs."""
    _show()


def _chosen(kinds: tuple[str, ...]) -> list[Kind]:
    return [Kind(kind) for kind in kinds] or [*Kind]


def _show() -> None:
    for kind in Kind:
        status = pauses.status_of(kind)
        state = "paused" if status.is_paused else "running"
        click.echo(f"{kind:7} {state:8} {status.waiting} waiting, {status.running} running")
