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

_libc = ctypes.CDLL(None, use_errno=True)
_REFUSED = (errno.EPERM, errno.EACCES)
_NEW_USER_NAMESPACE = 0x10000000
_PTRACE_SEIZE = 0x4206  # attaches without stopping
_IO_URING_SETUP = 425
_SIGCHLD = 17
# System call numbers by architecture: open_by_handle_at, bpf, perf_event_open, prlimit64, clone.
_NUMBERS = {"x86_64": (304, 321, 298, 302, 56), "aarch64": (265, 280, 241, 261, 220)}


def attempts(targets: dict[str, Any]) -> dict[str, bool]:
    """Try everything; return by name whether it succeeded."""
    parent = int(targets["parent"])
    by_handle, bpf, perf, prlimit, clone = _NUMBERS[os.uname().machine]
    scratch, outside = Path(targets["scratch"]), Path(targets["outside"])
    tries: dict[str, Callable[[], object]] = {
        "read the source": lambda: Path(targets["source"]).read_bytes(),
        "write to scratch": lambda: (scratch / "written").write_bytes(b"1"),
        "remove from scratch": lambda: (scratch / "written").unlink(),
        "start a process": _fork,
        "change the source": lambda: Path(targets["source"]).open("r+b").close(),
        "read a secret": lambda: Path(targets["secret"]).read_bytes(),
        "list another folder": lambda: list(outside.iterdir()),
        "write to another folder": lambda: (outside / "written").write_bytes(b"1"),
        "remove another file": lambda: (outside / "removable").unlink(),
        "read the accounts": lambda: Path("/etc/passwd").read_bytes(),
        "read the parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "open the parent's memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "connect by TCP": lambda: _connect(socket.AF_INET, tuple(targets["tcp"])),
        "send by UDP": lambda: _send(tuple(targets["udp"])),
        "connect to a socket file": lambda: _connect(socket.AF_UNIX, targets["unix"]),
        "connect to an abstract socket": lambda: _connect(socket.AF_UNIX, targets["abstract"]),
        "trace the parent": lambda: _raise_errno(_libc.ptrace(_PTRACE_SEIZE, parent, None, None)),
        "read the parent's limits": lambda: _call(prlimit, parent, 7, None, bytes(16)),
        "clone into a namespace": lambda: _clone(clone),
        "mount": lambda: _raise_errno(_libc.mount(b"none", b"/", b"no such type", 0, None)),
        "make a namespace": lambda: _raise_errno(_libc.unshare(_NEW_USER_NAMESPACE)),
        "change modes": lambda: scratch.chmod(0o777),
        "open by handle": lambda: _call(by_handle, -1, None, 0),
        "use io_uring": lambda: _call(_IO_URING_SETUP, 0, None),
        "use BPF": lambda: _call(bpf, -1, None, 0),
        "count events": lambda: _call(perf, None, 0, -1, -1, 0),
        "signal the parent": lambda: os.kill(parent, 0),
    }
    return {name: _succeeds(attempt) for name, attempt in tries.items()}


def _succeeds(attempt: Callable[[], object]) -> bool:
    """Return whether the kernel let it happen; a call that fails on its arguments passed too."""
    try:
        attempt()
    except OSError as error:
        return error.errno not in _REFUSED
    return True


def _fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


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
    return _raise_errno(int(_libc.syscall(ctypes.c_long(number), *words)))


def _raise_errno(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(attempts(json.loads(sys.argv[1]))))
