"""Tries what a decoder under a hostile file's control would try, and reports what succeeded.

Run by `sandbox.measure_sandbox` in a decoder's place: one argument of JSON, an answer of JSON. The
attempts do no harm where nothing refuses them.
"""

import ctypes
import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker_server.media.process.guard import raise_errno

_libc = ctypes.CDLL(None, use_errno=True)
_REFUSED = (errno.EPERM, errno.EACCES)
_NEW_USER_NAMESPACE = 0x10000000
_PTRACE_SEIZE = 0x4206  # attaches without stopping
_IO_URING_SETUP = 425
_SIGCHLD = 17
_CREATED = 0x100  # IN_CREATE
_OWN, _REMOVE = 0o600, 0  # permissions, and IPC_RMID
_A_PROCESS = 1  # IOPRIO_WHO_PROCESS
_NAMES = (
    *("open_by_handle_at", "bpf", "perf_event_open", "prlimit64", "clone", "mq_open"),
    *("ioprio_get", "ioprio_set"),
)
_NUMBERS = {
    "x86_64": (304, 321, 298, 302, 56, 240, 252, 251),
    "aarch64": (265, 280, 241, 261, 220, 180, 31, 30),
}
Tries = dict[str, Callable[[], object]]


def attempts(targets: dict[str, Any]) -> dict[str, bool]:
    """Try everything; return by name whether it succeeded."""
    numbers = dict(zip(_NAMES, _NUMBERS[os.uname().machine], strict=True))
    parent, scratch = int(targets["parent"]), Path(targets["scratch"])
    tries = {
        **_on_files(targets, scratch),
        **_on_the_parent(parent, numbers),
        **_on_the_system(targets, numbers),
    }
    return {name: _succeeds(attempt) for name, attempt in tries.items()}


def _on_files(targets: dict[str, Any], scratch: Path) -> Tries:
    source, secret = Path(targets["source"]), Path(targets["secret"])
    outside = Path(targets["outside"])
    return {
        "read the source": source.read_bytes,
        "write to scratch": lambda: (scratch / "written").write_bytes(b"1"),
        "remove from scratch": lambda: (scratch / "written").unlink(),
        "change the source": lambda: source.open("r+b").close(),
        "truncate on opening": lambda: os.open(scratch / "absent", os.O_RDONLY | os.O_TRUNC),
        "read a secret": secret.read_bytes,
        "truncate a secret": lambda: os.truncate(secret, secret.stat().st_size),
        "change a secret's times": lambda: os.utime(secret),
        "link a secret": lambda: _link(secret, scratch / "linked"),
        "make a symbolic link": lambda: _link_symbolically(secret, scratch / "symbolic"),
        "list another folder": lambda: list(outside.iterdir()),
        "watch another folder": lambda: _watch(outside),
        "write to another folder": lambda: (outside / "written").write_bytes(b"1"),
        "remove another file": lambda: (outside / "removable").unlink(),
        "read the accounts": Path("/etc/passwd").read_bytes,
        "change modes": lambda: scratch.chmod(0o777),
    }


def _on_the_parent(parent: int, numbers: dict[str, int]) -> Tries:
    """What changes something sets it to what it is."""
    return {
        "read the parent's environment": Path(f"/proc/{parent}/environ").read_bytes,
        "open the parent's memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "trace the parent": lambda: raise_errno(_libc.ptrace(_PTRACE_SEIZE, parent, None, None)),
        "read the parent's limits": lambda: _call(numbers["prlimit64"], parent, 7, None, bytes(16)),
        "set the parent's priority": lambda: os.setpriority(
            os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)
        ),
        "set the parent's cores": lambda: os.sched_setaffinity(
            parent, os.sched_getaffinity(parent)
        ),
        "set the parent's scheduling": lambda: os.sched_setscheduler(
            parent, os.sched_getscheduler(parent), os.sched_getparam(parent)
        ),
        "set the parent's I/O priority": lambda: _call(
            numbers["ioprio_set"],
            _A_PROCESS,
            parent,
            _call(numbers["ioprio_get"], _A_PROCESS, parent),
        ),
        "signal the parent": lambda: os.kill(parent, 0),
    }


def _on_the_system(targets: dict[str, Any], numbers: dict[str, int]) -> Tries:
    return {
        "start a process": lambda: _fork(lambda: None),
        "leave the session": lambda: _fork(os.setsid),
        "leave the process group": lambda: _fork(lambda: os.setpgid(0, 0)),
        "connect by TCP": lambda: _connect(socket.AF_INET, tuple(targets["tcp"])),
        "send by UDP": lambda: _send(tuple(targets["udp"])),
        "connect to a socket file": lambda: _connect(socket.AF_UNIX, targets["unix"]),
        "connect to an abstract socket": lambda: _connect(socket.AF_UNIX, targets["abstract"]),
        "share memory": _share_memory,
        "share semaphores": _share_semaphores,
        "share messages": _share_messages,
        "open a message queue": lambda: _call(numbers["mq_open"], b"idrl-absent", 0, 0, None),
        "clone into a namespace": lambda: _clone(numbers["clone"]),
        "mount": lambda: raise_errno(_libc.mount(b"none", b"/", b"no such type", 0, None)),
        "make a namespace": lambda: raise_errno(_libc.unshare(_NEW_USER_NAMESPACE)),
        "open by handle": lambda: _call(numbers["open_by_handle_at"], -1, None, 0),
        "use io_uring": lambda: _call(_IO_URING_SETUP, 0, None),
        "use BPF": lambda: _call(numbers["bpf"], -1, None, 0),
        "count events": lambda: _call(numbers["perf_event_open"], None, 0, -1, -1, 0),
    }


def _succeeds(attempt: Callable[[], object]) -> bool:
    """Return whether the kernel let it happen; a call that fails on its arguments passed too."""
    try:
        attempt()
    except OSError as error:
        return error.errno not in _REFUSED
    return True


def _fork(attempt: Callable[[], object]) -> None:
    """Make the attempt in a new process; raise PermissionError where it is refused there."""
    child = os.fork()
    if not child:
        os._exit(0 if _succeeds(attempt) else 1)
    if os.waitpid(child, 0)[1]:
        raise PermissionError(errno.EPERM, "refused")


def _link(file: Path, link: Path) -> None:
    """Landlock answers EXDEV to a link into a folder with other rights."""
    try:
        link.hardlink_to(file)
    except OSError as error:
        raise PermissionError(errno.EPERM, "refused") from error
    link.unlink()


def _link_symbolically(file: Path, link: Path) -> None:
    link.symlink_to(file)
    link.unlink()


def _watch(folder: Path) -> None:
    descriptor = raise_errno(_libc.inotify_init1(0))
    try:
        raise_errno(_libc.inotify_add_watch(descriptor, os.fsencode(folder), _CREATED))
    finally:
        os.close(descriptor)


def _share_memory() -> None:
    _libc.shmctl(raise_errno(_libc.shmget(0, 4096, _OWN)), _REMOVE, None)


def _share_semaphores() -> None:
    _libc.semctl(raise_errno(_libc.semget(0, 1, _OWN)), 0, _REMOVE)


def _share_messages() -> None:
    _libc.msgctl(raise_errno(_libc.msgget(0, _OWN)), _REMOVE, None)


def _clone(number: int) -> None:
    child = _call(number, _NEW_USER_NAMESPACE | _SIGCHLD, None, None, None, None)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _connect(family: int, address: Any) -> None:  # noqa: ANN401 # the type depends on the family
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(address)


def _send(address: Any) -> None:  # noqa: ANN401 # host and port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"1", address)


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = (ctypes.c_long(word) if isinstance(word, int) else word for word in arguments)
    return raise_errno(int(_libc.syscall(ctypes.c_long(number), *words)))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(attempts(json.loads(sys.argv[1]))))
