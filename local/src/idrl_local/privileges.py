"""Started by root, the system runs as one unprivileged user: RUN_AS, `nobody` where it is not set.

Root prepares the folders and leaves everything else to commands that run as that user, without
capabilities and unable to gain any (no_new_privs).

A checkout or home below a folder that is closed to that user, such as /root, keeps one capability:
to read and search everything (CAP_DAC_READ_SEARCH). Changing the permissions of the folders above
is the operator's decision. `inaccessible_path` returns the first path that the user cannot open.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from idrl_local import ownership
from idrl_local.home import CHECKOUT, Home, HomeUnusable
from idrl_local.pidlocks import PidLock

_FILE_SETTINGS = ("TLS_CERT", "TLS_KEY", "LOGO_PATH")


def is_root() -> bool:
    """Return whether this process has privileges to drop."""
    return os.geteuid() == 0


def user_of(environment: Mapping[str, str]) -> pwd.struct_passwd:
    """Return the user that RUN_AS names; raise HomeUnusable for root and for none."""
    name = environment.get("RUN_AS") or "nobody"
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise HomeUnusable(f"RUN_AS={name}: there is no such user") from None
    if user.pw_uid == 0:
        raise HomeUnusable(f"RUN_AS={name}: this is root; name a user without privileges")
    return user


def user_for(home: Home, environment: Mapping[str, str]) -> pwd.struct_passwd:
    """Return the user of a home: its owner, else the one that RUN_AS names.

    Raises HomeUnusable where RUN_AS names another one than the owner.
    """
    owner_uid = home.run.stat().st_uid if home.run.exists() else 0
    if owner_uid == 0:
        return user_of(environment)
    try:
        owner = pwd.getpwuid(owner_uid)
    except KeyError:
        raise HomeUnusable(
            f"{home.root} belongs to the uid {owner_uid}, which no user has"
        ) from None
    name = environment.get("RUN_AS") or owner.pw_name
    if name != owner.pw_name:
        raise HomeUnusable(
            f"RUN_AS={name}: {home.root} belongs to {owner.pw_name};"
            " leave RUN_AS out, or choose another IDRL_HOME"
        )
    return owner


def unprivileged(
    words: Sequence[str], user: pwd.struct_passwd, *, may_read_all: bool = False
) -> list[str]:
    """Return the command that runs `words` as `user`; `may_read_all` keeps CAP_DAC_READ_SEARCH."""
    if not shutil.which("setpriv"):
        raise HomeUnusable("setpriv is missing (Debian: apt install util-linux)")
    capabilities = "-all,+dac_read_search" if may_read_all else "-all"
    return [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--no-new-privs",
        *(["--securebits=+no_setuid_fixup"] if may_read_all else []),
        f"--bounding-set={capabilities}",
        f"--inh-caps={capabilities}",
        f"--ambient-caps={capabilities}",
        *words,
    ]


def command_for_root(
    home: Home, words: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Prepare the home, and return the command and the environment of `python -m idrl_local WORDS`.

    Raises HomeUnusable while processes of root run there.
    """
    if runs_as_root(home):
        raise HomeUnusable(f"the system in {home.root} runs as root: `make down`, then `make up`")
    user = user_for(home, environment)
    _prepare(home, user, needs_secrets=words[0] == "up")
    command = unprivileged(
        [sys.executable, "-m", "idrl_local", *words],
        user,
        may_read_all=inaccessible_path(home, user) is not None,
    )
    own = {"IDRL_HOME": str(home.root), "HOME": str(home.run)}
    copies = _readable_settings(home, user, environment)
    if words[0] == "up" and not home.lock("supervisord").is_locked():
        _remove_other_copies(home, copies)
    return command, {**environment, **copies, **own}


def runs_as_root(home: Home) -> bool:
    """Return whether a process of this home was started by root and kept root's rights.

    After supervisord was killed the others run on.
    """
    if not home.run.exists():
        return False
    # Not by `glob`, to which a folder that is closed to us is empty. `Home.lock` says which release
    # names them `.mark`.
    files = (file for file in home.run.iterdir() if file.suffix in (".lock", ".mark"))
    return any(_is_held_by_root(PidLock(file)) for file in files)


def _is_held_by_root(lock: PidLock) -> bool:
    if not lock.is_locked():
        return False
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        status = Path(f"/proc/{lock.pid}/status").read_text()
        return "\nUid:\t0\t" in status
    return False


def inaccessible_path(home: Home, user: pwd.struct_passwd) -> Path | None:
    """Return the first path that the user needs and may not open; None where there is none."""
    import supervisor

    needed = (
        home.root,
        CHECKOUT / "web-server" / "nginx" / "nginx.conf.template",
        Path(__file__),
        Path(sys.executable),
        Path(sys.executable).resolve(),
        Path(supervisor.__file__),
    )
    return next((closed for path in needed if (closed := _first_inaccessible(path, user))), None)


def warning(home: Home) -> str | None:
    """Return the message about the capability that this process kept; None where it has none."""
    if is_root() or not _capabilities():
        return None
    user = pwd.getpwuid(os.geteuid())
    return (
        f"{inaccessible_path(home, user)} is closed to the user {user.pw_name}: the processes keep"
        " the right to read every file (CAP_DAC_READ_SEARCH); to run without, move the checkout,"
        " its Python and IDRL_HOME to folders that are open, below /opt for example"
    )


def _capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def _first_inaccessible(path: Path, user: pwd.struct_passwd) -> Path | None:
    for each in (*reversed(path.parents), path):
        needed = stat.S_IXOTH if each.is_dir() else stat.S_IROTH
        if not _has_right(each.stat(), user, needed):
            return each
    return None


def _has_right(status: os.stat_result, user: pwd.struct_passwd, right_of_others: int) -> bool:
    """Return whether the mode gives the user this right; access lists are not considered."""
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & right_of_others << 6)
    if status.st_gid == user.pw_gid:
        return bool(status.st_mode & right_of_others << 3)
    return bool(status.st_mode & right_of_others)


def _prepare(home: Home, user: pwd.struct_passwd, *, needs_secrets: bool) -> None:
    """Create the folders, chown them to the user and close them to others.

    The home itself stays root's, open to the user.
    """
    home.create()
    if needs_secrets:
        home.secrets()
    _require_in_namespace(user)
    if home.root.stat().st_uid == 0:
        home.root.chmod(0o711)
    # 0.1.0 can have run since, as root, which leaves files of root where the user owns the folders.
    ran_as_root = ownership.has_files_of_root(home.run)
    for folder in (home.data, home.logs, home.run, home.share, home.sample_folder, home.scratch):
        folder.mkdir(mode=0o700, exist_ok=True)
        if ran_as_root or folder.lstat().st_uid == 0:
            ownership.give_to(user, folder)
        _close_to_others(folder)
    with contextlib.suppress(FileNotFoundError):  # lost, or before the first start
        os.chown(home.secrets_file, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _close_to_others(folder: Path) -> None:
    """Remove the rights of others on a folder of an earlier release, whose home was closed."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        with contextlib.suppress(PermissionError):  # a file server that takes root for nobody
            folder.chmod(mode & ~0o077)


def _require_in_namespace(user: pwd.struct_passwd) -> None:
    """Raise HomeUnusable in a user namespace without this user, where root cannot become it."""
    for kind, number in (("uid", user.pw_uid), ("gid", user.pw_gid)):
        rows = Path(f"/proc/self/{kind}_map").read_text().splitlines()
        ranges = (tuple(map(int, row.split())) for row in rows)
        if not any(first <= number < first + count for first, _, count in ranges):
            raise HomeUnusable(
                f"RUN_AS={user.pw_name}: this user namespace has no {kind} {number};"
                " run it as yourself, outside of the namespace, or map that id as well"
            )


def _readable_settings(
    home: Home, user: pwd.struct_passwd, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the settings whose files only root can read, with the paths of the user's copies."""
    copies = {}
    folder = _copies_folder(home)
    for name in _FILE_SETTINGS:
        path = Path(environment.get(name) or "/").absolute()
        if path.is_file() and _first_inaccessible(path, user):
            folder.mkdir(mode=0o711, exist_ok=True)
            copies[name] = str(_copy(path, folder, user))
    return copies


def _copies_folder(home: Home) -> Path:
    return home.root / "copies"


def _remove_other_copies(home: Home, copies: Mapping[str, str]) -> None:
    """Remove copies of earlier starts. Those of a system that runs are read until it ends."""
    folder = _copies_folder(home)
    if folder.exists():
        for left in folder.iterdir():
            if str(left) not in copies.values():
                left.unlink()


def _copy(path: Path, folder: Path, user: pwd.struct_passwd) -> Path:
    """Return a copy named after its content: a changed file is a changed setting."""
    content = path.read_bytes()
    copy = folder / f"{hashlib.sha256(content).hexdigest()[:16]}{path.suffix}"
    if copy.exists() and copy.read_bytes() == content:
        return copy
    copy.unlink(missing_ok=True)
    with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        os.fchown(file.fileno(), user.pw_uid, user.pw_gid)
    return copy
