"""Becomes another program, after tying itself to its parent, to limits and to its sandbox.

Run as a script, by `child.guarded`: `python -I -S guard.py PARENT_PID NICE CPU_S MEMORY FILE_BYTES
OPEN_FILES PROCESSES SANDBOX [FILE…] -- PROGRAM [ARGUMENT…]`, 0 for no limit; a FILE is `r:`, `w:`
or `x:` and a path. Doing this between fork and exec (`preexec_fn`) is unsafe in a program with
threads, and doing it from the parent is too late. Child modules import this as a module, as they
learn their files only after they have started.

The sandbox needs no privilege and no package. Landlock (landlock(7)) allows the given files, and
forbids TCP and signals to others where the kernel can; seccomp (seccomp(2)) refuses what no decoder
needs: sockets, tracing, mounts, changes of owners and modes. Both last for the process and all of
its children, and cannot be undone.
"""

import ctypes
import os
import resource
import struct
import sys

FAILED_STATUS = 76  # exit status of the guard: the program was not started
NONE, SYSCALLS, ALL = "none", "syscalls", "all"  # how much of the sandbox to apply

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38  # prctl(2)
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9  # importing `signal` takes longer than all of the sandbox
_CPU_GRACE_S = 5  # SIGXCPU at the soft limit, SIGKILL this much later

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # landlock_*, on all architectures
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
# Mask of the file access rights of each Landlock ABI version, from version 0.
_FILE_RIGHTS_OF_VERSION = (
    0,
    (1 << 13) - 1,
    (1 << 14) - 1,
    (1 << 15) - 1,
    (1 << 15) - 1,
    (1 << 16) - 1,
)
_NET_VERSION, _BIND_AND_CONNECT_TCP = 4, 0b11
_SCOPE_VERSION, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11

_RIGHTS = {
    "r": _READ_FILE | _READ_DIR,
    "x": _READ_FILE | _READ_DIR | _EXECUTE,
    "w": _READ_FILE
    | _READ_DIR
    | _WRITE_FILE
    | _TRUNCATE
    | _MAKE_REG
    | _MAKE_DIR
    | _REMOVE_FILE
    | _REMOVE_DIR
    | _REFER,
}
# The rights that Landlock accepts in a rule for a file rather than a folder.
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
# What the C library, Python and the codecs read, as far as a machine has it.
_SYSTEM_FILES = (
    *("x:/lib", "x:/lib64", "x:/bin", "x:/usr/lib", "x:/usr/lib64", "x:/usr/bin"),
    *("x:/usr/local/lib", "x:/usr/local/bin", "r:/usr/share/locale", "r:/etc/ld.so.cache"),
    *("r:/dev/urandom", "r:/dev/zero", "w:/dev/null", "r:/proc/self", "r:/sys/devices/system/cpu"),
)

# System calls that seccomp refuses, with their numbers on x86-64 and aarch64; None: no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242),
    "bind": (49, 200), "listen": (50, 201), "sendto": (44, 206), "sendmsg": (46, 211),
    "sendmmsg": (307, 269), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "pidfd_getfd": (438, 438),
    "kcmp": (312, 272), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "lchown": (94, None),
    "fchown": (93, 55), "fchownat": (260, 54), "mknod": (133, None), "mknodat": (259, 33),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162),
}  # fmt: skip
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW…
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_…
_X32 = 0x40000000  # bit in the numbers of x86-64's second ABI, x32, which would bypass the list

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS = 1, 38
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # in struct seccomp_data, little-endian

_libc = ctypes.CDLL(None, use_errno=True)


class SandboxFailed(Exception):
    """The sandbox cannot be applied to this process, or cannot be tested."""


def main() -> None:
    """Become the program, or exit with FAILED_STATUS, which programs do not use themselves."""
    try:
        _become_program()
    except Exception as error:  # noqa: BLE001 # whatever it is, the video is not to blame
        sys.stderr.write(f"guard: {error!r}\n")
        sys.exit(FAILED_STATUS)


def _become_program() -> None:
    parent, nice, cpu_s, memory, file_bytes, open_files, processes = map(int, sys.argv[1:8])
    # The signal comes when the parent's *thread* that spawned us ends (prctl(2)).
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        sys.exit("The parent is gone already.")
    os.nice(nice)
    _limit(resource.RLIMIT_CORE, 0)
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_NPROC, processes),
    ):
        if value:
            _limit(kind, value)
    end = sys.argv.index("--")
    _enter_sandbox(sys.argv[8], sys.argv[9:end])
    os.execv(sys.argv[end + 1], sys.argv[end + 1 :])  # noqa: S606 # no shell is the point


def _enter_sandbox(sandbox: str, files: list[str]) -> None:
    """Apply this level of the sandbox; raise OSError or SandboxFailed."""
    if sandbox == ALL:
        restrict_files(files)
    if sandbox in (ALL, SYSCALLS):
        restrict_syscalls()


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    most = value + _CPU_GRACE_S if kind == resource.RLIMIT_CPU else value
    resource.setrlimit(kind, (value, most if hard == resource.RLIM_INFINITY else min(most, hard)))


def landlock_version() -> int:
    """Return the version of the kernel's Landlock, 0 where there is none."""
    return max(0, int(_syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)))


def restrict_files(files: list[str]) -> None:
    """Leave this process only these files, by Landlock; forbid TCP, and signals to other processes.

    Applies what the kernel's version of Landlock can do, nothing where there is none. Skips files
    that do not exist. Raise SandboxFailed where there are other threads: they would stay free.
    """
    version = landlock_version()
    _set_no_new_privs()
    if not version:
        return
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 # pathlib is slow to load
        raise SandboxFailed("there are several threads already")
    handled = _FILE_RIGHTS_OF_VERSION[min(version, len(_FILE_RIGHTS_OF_VERSION) - 1)]
    net = _BIND_AND_CONNECT_TCP if version >= _NET_VERSION else 0
    scope = _ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPE_VERSION else 0
    attributes = struct.pack("=QQQ", handled, net, scope)
    ruleset = _raise_errno(_syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for file in (*_SYSTEM_FILES, *files):
            _allow(ruleset, file, handled)
        _raise_errno(_syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, file: str, handled: int) -> None:
    kind, _, path = file.partition(":")
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what cannot be opened needs no rule
    try:
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")  # noqa: PTH112 # pathlib is slow to load
        rights = _RIGHTS[kind] & handled & (-1 if is_folder else _OF_A_FILE)
        rule = struct.pack("=Qi", rights, descriptor)
        _raise_errno(_syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def restrict_syscalls() -> None:
    """Have the kernel refuse this process and its children the calls no decoder needs."""
    program = _filter()
    _set_no_new_privs()
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(instructions))
    _raise_errno(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header))


def _filter() -> bytes:
    """Return the BPF program that filters each system call (struct sock_filter, 8 bytes each)."""
    machine = _machine()
    if machine not in _MACHINES:
        raise SandboxFailed(f"no list of system calls for {machine}")
    column, audit = _MACHINES[machine]
    refuse = _step(_RETURN, _ERRNO | _EPERM)
    steps = [_step(_LOAD, _MACHINE_AT), _step(_EQUAL, audit, 1, 0), _step(_RETURN, _KILL)]
    steps += [_step(_LOAD, _NUMBER_AT), _step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            steps += [_step(_EQUAL, number, 0, 1), refuse]
    # seccomp cannot read clone3's flags, which are in memory; on ENOSYS libc falls back to clone.
    steps += [_step(_EQUAL, _CLONE3[column], 0, 1), _step(_RETURN, _ERRNO | _ENOSYS)]
    allow, argument = _step(_RETURN, _ALLOW), _step(_LOAD, _FIRST_ARGUMENT_AT)
    steps += [_step(_EQUAL, _CLONE[column], 0, 4), argument]
    steps += [_step(_ANY_BIT, _NEW_NAMESPACES, 0, 1), refuse, allow]
    # prlimit64 only for pid 0, the calling process: not for others of the same user.
    steps += [_step(_EQUAL, _PRLIMIT[column], 0, 3), argument, _step(_EQUAL, 0, 1, 0), refuse]
    return b"".join([*steps, allow])


def _machine() -> str:
    """Return the machine's architecture, as `uname -m` has it."""
    return os.uname().machine


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _set_no_new_privs() -> None:
    _raise_errno(_prctl(_PR_SET_NO_NEW_PRIVS, 1))


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *map(_as_c_long, arguments)))


def _prctl(option: int, *arguments: bytes | int) -> int:
    return int(_libc.prctl(option, *map(_as_c_long, (*arguments, 0, 0, 0)[:4])))


def _as_c_long(argument: bytes | int | None) -> object:
    """Return an integer as C's long, as the kernel reads it; ctypes would pass an int."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _raise_errno(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    main()
