"""One supervisord for an installation: start it, call it, stop it and what it left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from xmlrpc.client import Fault, ServerProxy

from supervisor.states import RUNNING_STATES, ProcessStates
from supervisor.xmlrpc import Faults, SupervisorTransport

from idrl_local import config, listeners
from idrl_local.home import Home, Ports
from idrl_local.programs import PROGRAMS, Program

SUPERVISORD = "supervisord"
_START_TIMEOUT_S = 60
_ORPHANS_WAIT_S = 5
# By which supervisord knows a program.
_FULL_NAMES = {program.name: f"{program.group}:{program.name}" for program in PROGRAMS}
_HEALTHY_STATES = (ProcessStates.STARTING, ProcessStates.RUNNING)


class ProgramFailed(Exception):
    """A program of the installation ended or never came up."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class NoAnswer(ProgramFailed):
    """supervisord is there and does not answer: it is starting or stopping, or hangs."""

    def __init__(self) -> None:
        super().__init__(SUPERVISORD, "does not answer: it is starting or stopping, or hangs")


class ProgramLate(ProgramFailed):
    """A program runs and is not ready, though nothing has progressed for long."""


@dataclass(frozen=True)
class ProgramState:
    """A program's state: `number` is one of ProcessStates.

    `ended_at` is the Unix time of the latest end, 0 when there was none.
    """

    number: int
    ended_at: int
    description: str


def is_running(home: Home) -> bool:
    """Return whether this installation's supervisord is alive."""
    return home.lock(SUPERVISORD).is_locked()


def left_running(home: Home) -> list[str]:
    """Return the programs that run without a supervisord, which was killed."""
    if is_running(home):
        return []
    return [program.name for program in PROGRAMS if home.lock(program.name).is_locked()]


def start(home: Home, ports: Ports, environment: Mapping[str, str]) -> None:
    """Start supervisord, which outlives us and our terminal.

    `environment` is what its programs inherit, besides the sockets of web and tasks.
    """
    config.write_supervisord(home)
    home.socket.unlink(missing_ok=True)
    with listeners.opened(ports) as descriptors:
        own = {"IDRL_HOME": str(home.root), config.PYTHON: sys.executable}
        env = {**environment, **own, **listeners.variable(descriptors)}
        process = _start_supervisord(home, env, list(descriptors.values()))
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(home):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ProgramFailed(SUPERVISORD, "does not answer")
        time.sleep(0.02)


def _start_supervisord(
    home: Home, env: Mapping[str, str], descriptors: Sequence[int]
) -> "subprocess.Popen[bytes]":
    with (home.logs / "supervisord.out").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "idrl_local", "exec", SUPERVISORD],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            pass_fds=descriptors,
            start_new_session=True,
            cwd=home.root,
        )


def execute(home: Home) -> None:
    """Become supervisord: does not return."""
    home.lock(SUPERVISORD).acquire()
    command = [
        sys.executable,
        "-m",
        "idrl_local.run_supervisord",
        "-c",
        str(home.run / "supervisord.conf"),
    ]
    os.execv(command[0], command)  # noqa: S606 # this is what it is for


def start_programs(home: Home, names: Sequence[str]) -> None:
    """Have supervisord start the programs that do not run; returns before they answer."""
    states = program_states(home)
    with _rpc(home) as rpc:
        for name in names:
            if states[name].number not in RUNNING_STATES:
                with _already(Faults.ALREADY_STARTED):
                    rpc.supervisor.startProcess(_FULL_NAMES[name], False)


def stop_programs(home: Home, names: Sequence[str]) -> None:
    """Have supervisord stop the programs that run; returns when they have ended."""
    states = program_states(home)
    with _rpc(home) as rpc:
        for name in names:
            if states[name].number in RUNNING_STATES:
                with _already(Faults.NOT_RUNNING):
                    rpc.supervisor.stopProcess(_FULL_NAMES[name])


@contextmanager
def _already(code: int) -> Iterator[None]:
    """Let supervisord have done what is asked: it starts by itself what has ended."""
    try:
        yield
    except Fault as error:
        if error.faultCode != code:
            raise


def restart_program(home: Home, name: str) -> None:
    """Stop and start a program: callers of web and tasks wait meanwhile, as their sockets stay."""
    stop_programs(home, [name])
    start_programs(home, [name])


def reload_program(home: Home, name: str) -> None:
    """Send SIGHUP: gunicorn starts new processes and keeps its socket, so no call is refused."""
    with _rpc(home) as rpc:
        rpc.supervisor.signalProcess(_FULL_NAMES[name], "HUP")


def check_programs(home: Home, names: Sequence[str], since: float) -> None:
    """Raise ProgramFailed for the first program that is down or ended after `since` (Unix)."""
    states = program_states(home)
    for name in names:
        state = states[name]
        if state.number not in _HEALTHY_STATES or state.ended_at >= since:
            raise ProgramFailed(name, f"does not run ({state.description})")


def program_states(home: Home) -> dict[str, ProgramState]:
    """Return what supervisord says about each program."""
    with _rpc(home) as rpc:
        processes = rpc.supervisor.getAllProcessInfo()
    assert isinstance(processes, list)  # noqa: S101 # XML-RPC has no types
    return {
        entry["name"]: ProgramState(
            entry["state"], entry["stop"], f"{entry['statename']} {entry['description']}".strip()
        )
        for entry in processes
    }


def stop(home: Home) -> None:
    """Stop every process of the installation, a killed supervisord's too, and no other."""
    if is_running(home):
        _shut_down(home)
    for group in reversed(dict.fromkeys(program.group for program in PROGRAMS)):
        _end(home, [program for program in PROGRAMS if program.group == group])
    home.remove_socket()


def _shut_down(home: Home) -> None:
    """Let supervisord stop everything in order and in time, then end supervisord itself."""
    lock = home.lock(SUPERVISORD)
    try:
        with _rpc(home) as rpc:
            rpc.supervisor.shutdown()
    except NoAnswer:  # it hangs, or is already exiting
        lock.signal_group(signal.SIGTERM)
    timeout_s = sum({program.group: program.stop_wait_s for program in PROGRAMS}.values()) + 5
    if not lock.wait_until_free(timeout_s):
        lock.signal_group(signal.SIGKILL)


def _end(home: Home, programs: Sequence[Program]) -> None:
    """Stop programs that a killed supervisord left: at once, as its pipe may block them."""
    locks = {program: home.lock(program.name) for program in programs}
    still_running = {program: lock for program, lock in locks.items() if lock.is_locked()}
    for program, lock in still_running.items():
        lock.signal_group(signal.Signals[f"SIG{program.stop_signal}"])
    deadline = time.monotonic() + _ORPHANS_WAIT_S
    for program, lock in still_running.items():
        if lock.wait_until_free(deadline - time.monotonic()):
            continue
        lock.signal_group(signal.SIGKILL)
        if not lock.wait_until_free(_ORPHANS_WAIT_S):
            raise ProgramFailed(program.name, "does not end")


def _answers(home: Home) -> bool:
    try:
        with _rpc(home) as rpc:
            rpc.supervisor.getState()
    except NoAnswer:
        return False
    return True


@contextmanager
def _rpc(home: Home) -> Iterator[ServerProxy]:
    # The address is a placeholder: the transport goes to the socket.
    transport = SupervisorTransport(None, None, f"unix://{home.socket}")
    try:
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            yield proxy
    except (OSError, HTTPException) as error:
        raise NoAnswer from error
    except Fault as error:
        if error.faultCode == Faults.SHUTDOWN_STATE:
            raise NoAnswer from error
        raise
