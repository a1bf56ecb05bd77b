"""Faults of processes: killed, frozen, stopped for a while, restarted."""

import os
import signal
from contextlib import suppress
from random import Random

import psutil

from chaos.faults.base import Fault, NotInjected
from chaos.target import Target
from idrl_local import supervision


class ProgramKilled(Fault):
    """SIGKILL to all processes of a program, as the kernel's OOM killer or a crash would."""

    def __init__(self, program: str) -> None:
        self.name = f"{program}_killed"
        self._program = program

    def inject(self, target: Target, random: Random) -> None:
        processes = _processes(target, self._program)
        if random.random() < 0.5:
            processes = processes[:1]
        _signal(processes, signal.SIGKILL)


class ChildKilled(Fault):
    """SIGKILL to one child process of a program: a pool process or a gunicorn worker."""

    def __init__(self, program: str) -> None:
        self.name = f"{program}_child_killed"
        self._program = program

    def inject(self, target: Target, random: Random) -> None:
        main = _processes(target, self._program)[0]
        children = main.children()
        if not children:
            raise NotInjected(f"{self._program} has no child process")
        _signal([random.choice(children)], signal.SIGKILL)


class MediaChildKilled(Fault):
    """SIGKILL to an encoder or another child process that works on a video."""

    name = "media_child_killed"

    def inject(self, target: Target, random: Random) -> None:
        pools = [child for name in ("fetch", "render") for child in _pool(target, name)]
        children = [each for process in pools for each in _children(process)]
        if not children:
            raise NotInjected("no child process works on a video")
        _signal([random.choice(children)], signal.SIGKILL)


class ProgramFrozen(Fault):
    """SIGSTOP to all processes of a program, and SIGCONT later: a machine that stalls."""

    def __init__(self, program: str, hold_s: tuple[float, float]) -> None:
        self.name = f"{program}_frozen"
        self.hold_s = hold_s
        self._program = program
        self._frozen: list[psutil.Process] = []

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # all are frozen
        self._frozen = _processes(target, self._program)
        _signal(self._frozen, signal.SIGSTOP)

    def recover(self, target: Target) -> None:  # noqa: ARG002 # the processes are known
        _signal(self._frozen, signal.SIGCONT)
        self._frozen = []


class ProgramsStopped(Fault):
    """Programs are stopped in order, and started later."""

    def __init__(self, name: str, *programs: str, hold_s: tuple[float, float]) -> None:
        self.name = name
        self.hold_s = hold_s
        self._programs = programs

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        supervision.stop_programs(target.home, self._programs)

    def recover(self, target: Target) -> None:
        supervision.start_programs(target.home, self._programs)


def restarted(program: str) -> ProgramsStopped:
    """Return the fault of a restart, as an upgrade does it."""
    return ProgramsStopped(f"{program}_restarted", program, hold_s=(0, 0))


def _pool(target: Target, program: str) -> list[psutil.Process]:
    return [child for main in target.processes(program)[:1] for child in _children(main)]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def _processes(target: Target, program: str) -> list[psutil.Process]:
    processes = target.processes(program)
    if not processes:
        raise NotInjected(f"{program} does not run")
    return processes


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            os.kill(process.pid, number)
