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
_OOM_FIRST = "1000"  # proc_pid_oom_score_adj(5)
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
    # What Landlock leaves free whatever the path: times, attributes, notices of changes; before its
    # third version truncation, too.
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
    "truncate": (76, 45), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27), "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    "quotactl_fd": (443, 443), "open_tree_attr": (467, 467),
    # Memory, semaphores and queues that all processes of the user share.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191), "msgget": (68, 186),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181), "ioprio_set": (251, 30),
    # A process outside its starter's group would outlive it.
    "setsid": (112, 157), "setpgid": (109, 154),
}  # fmt: skip
# Refused with ENOSYS: seccomp cannot read their arguments, which are in memory. libc then calls
# older ones.
_ABSENT = {"clone3": (435, 435), "openat2": (437, 437)}
_CLONE = (56, 220)
# Calls that can change other processes of the user, and the arguments that are 0 if they do not.
_OWN_ONLY: dict[str, tuple[tuple[int, int], tuple[int, ...]]] = {
    "prlimit64": ((302, 261), (0,)), "setpriority": ((141, 140), (0, 1)),
    "sched_setaffinity": ((203, 122), (0,)), "sched_setscheduler": ((144, 119), (0,)),
    "sched_setparam": ((142, 118), (0,)), "sched_setattr": ((314, 274), (0,)),
}  # fmt: skip
# Calls that open a file, and the argument with the flags.
_OPENING = {"open": ((2, None), 1), "openat": ((257, 56), 2)}
_TRUNCATES, _ACCESS_MODE = 0o1000, 0o3  # O_TRUNC, O_ACCMODE
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW…
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_…
_X32 = 0x40000000  # bit in the numbers of x86-64's second ABI, x32, which would bypass the list

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06  # BPF
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
    _expect_oom_kill()
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


def _expect_oom_kill() -> None:
    """Have the kernel end this process before others where memory runs out.

    One child costs one attempt, a worker all of its work, and PostgreSQL every call. Does nothing
    where /proc is not to be written.
    """
    try:
        with open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 # pathlib is slow to load
            score.write(_OOM_FIRST)
    except OSError:
        return


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
    ruleset = raise_errno(_syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for file in (*_SYSTEM_FILES, *files):
            _allow(ruleset, file, handled)
        raise_errno(_syscall(_RESTRICT_SELF, ruleset, 0))
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
        raise_errno(_syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def restrict_syscalls() -> None:
    """Have the kernel refuse this process and its children the calls no decoder needs."""
    program = _filter()
    _set_no_new_privs()
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(instructions))
    raise_errno(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header))


def _filter() -> bytes:
    """Return the BPF program that filters each system call (struct sock_filter, 8 bytes each)."""
    machine = _machine()
    if machine not in _MACHINES:
        raise SandboxFailed(f"no list of system calls for {machine}")
    column, audit = _MACHINES[machine]
    steps = [_step(_LOAD, _MACHINE_AT), _step(_EQUAL, audit, 1, 0), _step(_RETURN, _KILL)]
    steps += [_step(_LOAD, _NUMBER_AT), _step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    for numbers in _REFUSED.values():
        steps += _on_call(numbers[column], _refuse())
    for numbers in _ABSENT.values():
        steps += _on_call(numbers[column], _refuse(_ENOSYS))
    has_namespace = _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1)
    steps += _on_call(_CLONE[column], _argument(0), has_namespace, _refuse(), _allow_it())
    return b"".join([*steps, *_argument_filters(column), _allow_it()])


def _argument_filters(column: int) -> list[bytes]:
    """Return the steps for calls that are refused with some arguments only."""
    steps: list[bytes] = []
    for numbers, arguments in _OWN_ONLY.values():
        checks: list[bytes] = []
        for at in arguments:
            checks += [_argument(at), _step(_EQUAL, 0, 1, 0), _refuse()]
        steps += _on_call(numbers[column], *checks, _allow_it())
    # Before Landlock's third version the right to read a file allows to truncate it on opening.
    for opening, at in _OPENING.values():
        flags = (_argument(at), _step(_AND, _TRUNCATES | _ACCESS_MODE))
        truncates = _step(_EQUAL, os.O_RDONLY | _TRUNCATES, 0, 1)
        steps += _on_call(opening[column], *flags, truncates, _refuse(), _allow_it())
    return steps


def _on_call(number: int | None, *steps: bytes) -> list[bytes]:
    """Return the steps for one system call; none where the architecture has no such call."""
    return [] if number is None else [_step(_EQUAL, number, 0, len(steps)), *steps]


def _argument(at: int) -> bytes:
    return _step(_LOAD, _FIRST_ARGUMENT_AT + 8 * at)  # its lower half


def _refuse(error: int = _EPERM) -> bytes:
    return _step(_RETURN, _ERRNO | error)


def _allow_it() -> bytes:
    return _step(_RETURN, _ALLOW)


def _machine() -> str:
    """Return the machine's architecture, as `uname -m` has it."""
    return os.uname().machine


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _set_no_new_privs() -> None:
    raise_errno(_prctl(_PR_SET_NO_NEW_PRIVS, 1))


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *map(_as_c_long, arguments)))


def _prctl(option: int, *arguments: bytes | int) -> int:
    return int(_libc.prctl(option, *map(_as_c_long, (*arguments, 0, 0, 0)[:4])))


def _as_c_long(argument: bytes | int | None) -> object:
    """Return an integer as C's long, as the kernel reads it; ctypes would pass an int."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def raise_errno(result: int) -> int:
    """Return what a function of libc has returned; raise OSError for its error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    main()
