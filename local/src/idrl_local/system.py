"""The whole system, up and down."""

import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path

import requests

from idrl_local import (
    config,
    fingerprints,
    listeners,
    privileges,
    sample,
    servers,
    settings_check,
    supervision,
)
from idrl_local.home import Home, HomeUnusable, Ports, PortTaken
from idrl_local.programs import (
    DATABASE,
    PROGRAMS,
    STORES,
    SUPERUSER,
    WORKERS,
    Installation,
    host_of,
)
from idrl_local.progress import StartProgress, start_timeout_s
from idrl_local.supervision import ProgramFailed

_TAIL_LINES = 20
WriteLine = Callable[[str], None]


class SystemFailed(Exception):
    """The system did not come up; the message holds the reason and the end of the log."""


def _silent(_: str) -> None:
    """Print no progress."""


def up(
    home: Home, ports: Ports, environment: Mapping[str, str], write_line: WriteLine = _silent
) -> Installation:
    """Start what is not running and return when the system takes work. Safe to run twice.

    A system that runs other code than the checkout now has is stopped and started, without losing
    work. `write_line` gets what is awaited. Raises SystemFailed, PortTaken or HomeUnusable. If a
    program ends, a system that this call started is stopped; if one is only late, the others keep
    running. For root, the system is started as an unprivileged user, by another command.
    """
    if privileges.is_root():
        return _up_for_root(home, ports, environment, write_line)
    with home.exclusively(write_line):
        secrets = home.secrets()
        installation = Installation(
            home, ports, secrets, settings_check.with_absolute_paths(environment)
        )
        for line in settings_check.misspelled(environment):
            write_line(line)
        was_running = supervision.is_running(home)
        if was_running:
            _refuse_changes(installation)
            was_running = not _stop_outdated(installation, write_line)
        with ExitStack() as undo:
            if not was_running:
                listeners.allow_open_files()
                settings_check.check(installation)
                undo.callback(supervision.stop, home)
                with _explained(home):
                    _begin(installation)
            _start_programs(installation, write_line, undo)
            undo.pop_all()
    return installation


def _start_programs(installation: Installation, write_line: WriteLine, undo: ExitStack) -> None:
    """Start all; raise SystemFailed. If one is only late, the others stay: `undo` is cancelled."""
    with _explained(installation.home):
        try:
            _start(installation, write_line)
        except supervision.ProgramLate as error:
            undo.pop_all()
            raise SystemFailed(_explain_timeout(installation.home, error)) from error


@contextmanager
def _explained(home: Home) -> Iterator[None]:
    """Raise SystemFailed, with the end of its log, for a program or server that has failed."""
    try:
        yield
    except (ProgramFailed, servers.ServerFailed) as error:
        raise SystemFailed(_explain(home, error)) from error


def _up_for_root(
    home: Home, ports: Ports, environment: Mapping[str, str], write_line: WriteLine
) -> Installation:
    home.create()
    own = {**settings_check.with_absolute_paths(environment), "PORT": str(ports.nginx)}
    command, env = privileges.command_for_root(home, ["up", "--error-kinds"], own)
    process = subprocess.Popen(
        command, env=env, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr  # noqa: S101 # it is a pipe
    with process:
        last_lines: deque[str] = deque(maxlen=_TAIL_LINES)
        try:
            error = _first_error(_tee(process.stderr, last_lines), write_line)
        except BaseException:
            process.terminate()
            raise
    if error or process.returncode:
        raise error or SystemFailed("\n".join(last_lines))  # a traceback
    return Installation(home, ports, home.secrets(), env)


def _tee(lines: Iterable[str], notes: deque[str]) -> Iterator[str]:
    """Yield the lines, and append each to the notes."""
    for line in lines:
        notes.append(line.rstrip("\n"))
        yield line


def _first_error(lines: Iterable[str], write_line: WriteLine) -> Exception | None:
    """Pass on lines up to the one that names an error, whose message is all the rest."""
    kinds: dict[str, type[Exception]] = {
        kind.__name__: kind for kind in (SystemFailed, HomeUnusable, PortTaken)
    }
    remaining_lines = iter(lines)
    for line in remaining_lines:
        name, _, message = line.rstrip("\n").partition(": ")
        if name in kinds:
            return kinds[name]((message + "\n" + "".join(remaining_lines)).rstrip("\n"))
        write_line(line.rstrip("\n"))
    return None


def _refuse_changes(installation: Installation) -> None:
    """Raise HomeUnusable when the system that runs has another port or other settings."""
    home = installation.home
    if running_ports(home) != installation.ports:
        raise HomeUnusable(
            f"the system in {home.root} is up on port {running_ports(home).nginx} already"
        )
    if changed := settings_check.differences(home, installation.environment):
        raise HomeUnusable(
            f"the system in {home.root} is up with other settings: {', '.join(changed)};"
            " `make down`, then `make up` applies them"
        )
    started_with = fingerprints.stored(home).secrets
    if started_with and started_with != fingerprints.digest_of_secrets(installation.secrets):
        raise HomeUnusable(
            f"the system in {home.root} is up with other secrets than {home.secrets_file} has now;"
            " `make down`, then `make up` applies them"
        )


def _stop_outdated(installation: Installation, write_line: WriteLine) -> bool:
    """Stop a system that runs other code than the checkout has, and return whether it did.

    Its workers release what they hold, which counts as no attempt.
    """
    home = installation.home
    if fingerprints.stored(home).code == fingerprints.digest_of_code():
        return False
    settings_check.check(installation)
    write_line(
        f"the system in {home.root} runs code from before the last change of the checkout:"
        " all of it is stopped and started again"
    )
    supervision.stop(home)
    return True


def down(home: Home, write_line: WriteLine = _silent) -> None:
    """Stop everything and keep the data. Safe to run twice, and after a crash."""
    if privileges.is_root() and not privileges.runs_as_root(home):
        home.create()
        command, env = privileges.command_for_root(home, ["down"], os.environ)
        subprocess.run(command, env=env, cwd="/", stdout=subprocess.DEVNULL, check=True)
        return
    with home.exclusively(write_line):
        supervision.stop(home)


def running_ports(home: Home) -> Ports:
    """Return the ports of the running system."""
    return Ports.starting_at(int((home.run / "port").read_text()))


@contextmanager
def running(
    home: Home, ports: Ports, environment: Mapping[str, str], write_line: WriteLine = _silent
) -> Iterator[Installation]:
    """Run the system for as long as the block lasts."""
    try:
        yield up(home, ports, environment, write_line)
    finally:
        down(home)


def _begin(installation: Installation) -> None:
    """Start supervisord on a home that is set up."""
    home = installation.home
    supervision.stop(home)  # programs that a crashed run left behind
    installation.ports.check_free(host_of(installation.environment))
    (home.run / "port").write_text(str(installation.ports.nginx))
    settings_check.store_settings(home, installation.environment)
    fingerprints.store(home, fingerprints.present(installation.secrets))
    (home.share / ".idrl-share").touch()
    _make_sample(home)
    postgres = home.data / "postgres"
    binaries = servers.find_binaries(postgres)
    servers.init_postgres(binaries, postgres, SUPERUSER, installation.secrets.postgres_password)
    config.write_nginx(installation)
    environment = {**installation.environment, "PORT": str(installation.ports.nginx)}
    supervision.start(home, installation.ports, environment)


def _make_sample(home: Home) -> None:
    """Make the video that the system serves, so that a first task needs no other web site."""
    path = home.sample_folder / "sample.mp4"
    if path.exists():
        return
    home.sample_folder.mkdir(exist_ok=True)
    new = path.with_name("new.mp4")
    sample.make(new, seconds=30, width=640, height=360)
    new.rename(path)


def _start(installation: Installation, write_line: WriteLine) -> None:
    home = installation.home
    supervision.start_programs(home, STORES)
    _wait(installation, STORES, _unreachable_store, write_line)
    _migrate(installation)
    names = [program.name for program in PROGRAMS]
    supervision.start_programs(home, names)
    _wait(installation, names, _not_ready, write_line)


def _wait(
    installation: Installation,
    names: Sequence[str],
    missing: Callable[[Installation], str | None],
    write_line: WriteLine,
) -> None:
    """Wait until nothing is `missing`.

    Raises ProgramFailed when one of `names` has ended, ProgramLate when nothing has progressed for
    START_TIMEOUT_S.
    """
    since = time.time()
    timeout_s = start_timeout_s(installation.environment)
    progress = StartProgress(installation.home, timeout_s, write_line)
    while waiting_for := missing(installation):
        supervision.check_programs(installation.home, names, since)
        if not progress.is_made(waiting_for):
            raise supervision.ProgramLate(
                waiting_for, f"is not ready, and nothing has progressed for {timeout_s} s"
            )
        time.sleep(0.05)


def _unreachable_store(installation: Installation) -> str | None:
    """Return the name of a store that does not answer yet."""
    if not servers.port_answers(installation.ports.redis):
        return "redis"
    password = installation.secrets.postgres_password
    return (
        None
        if servers.postgres_answers(installation.ports.postgres, SUPERUSER, password)
        else "postgres"
    )


def _migrate(installation: Installation) -> None:
    # Alembic is slow to import, and a wrong setting is to be refused before that.
    from psg import migrate
    from psg.settings import Settings as SchemaSettings

    secrets = installation.secrets
    servers.ensure_database(
        installation.ports.postgres, SUPERUSER, secrets.postgres_password, DATABASE
    )
    settings = SchemaSettings(
        postgres_host="127.0.0.1",
        postgres_port=installation.ports.postgres,
        postgres_db=DATABASE,
        postgres_user=SUPERUSER,
        postgres_password=secrets.postgres_password,
        postgres_sslmode="disable",
        web_db_password=secrets.web_db_password,
        worker_db_password=secrets.worker_db_password,
    )
    engine = migrate.engine_for(settings)
    try:
        migrate.upgrade(engine, settings)
    finally:
        engine.dispose()


def _not_ready(installation: Installation) -> str | None:
    """Return the name of a program that the system still waits for."""
    for name in WORKERS:
        if not (installation.home.run / f"{name}.ready").exists():
            return name
    if not servers.port_answers(installation.ports.nginx, installation.reachable_host):
        return "nginx"
    return None if _is_ready(installation) else "web"


def _is_ready(installation: Installation) -> bool:
    try:
        answer = requests.get(f"{installation.web_url}/ready", timeout=5)
    except requests.RequestException:
        return False
    return answer.status_code == HTTPStatus.OK


def _explain_timeout(home: Home, error: ProgramFailed) -> str:
    return (
        f"{_explain(home, error)}\nThe other processes run on: `make status` shows them, `make up`"
        " waits again, `make down` stops them; START_TIMEOUT_S is how long a start may make no"
        " progress."
    )


def _explain(home: Home, error: Exception) -> str:
    """Return the error with the end of the log of the program that it is about."""
    if not isinstance(error, ProgramFailed):
        return str(error)
    ending = ".out" if error.name == supervision.SUPERVISORD else ".log"
    log = home.logs / f"{error.name}{ending}"
    return f"{error}\n{_end_of_log(log)}"


def _end_of_log(log: Path) -> str:
    if not log.exists():
        return f"({log} does not exist)"
    with log.open(errors="replace") as file:
        return f"The end of {log}:\n{''.join(deque(file, _TAIL_LINES))}"
