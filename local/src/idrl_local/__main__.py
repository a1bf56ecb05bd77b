"""`python -m idrl_local up | down | reload | restart | status | logs | demo | with-system COMMAND`:
the whole system on one machine.
"""

import argparse
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from idrl_local.home import Home, HomeUnusable, Ports, PortTaken, port_from_environment
from idrl_local.proxies import exempt_loopback, remove_libpq_variables

Command = Callable[[argparse.Namespace], int]
# The exit code of systemctl and of init scripts for what does not run.
_DOWN = 3
# Programs that `make reload` restarts.
_RELOADED = ("web", "tasks", "nginx")
_RESTARTED = ("web", "tasks")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL_MESSAGE = (
    "no space is left on the disk of IDRL_HOME: make room, or set IDRL_HOME to a folder elsewhere"
)
_NEXT_STEPS = """\
idrl is up at {url}
  API        {url}/docs
  a source   {sample} (a video to try it with)
  state      make status
  logs       make logs
  stop       make down (keeps the data, in {home})"""


def main() -> int:
    """Run one command and return its exit code.

    The imports of each are its own: `exec` must be quick.
    """
    arguments = _parser().parse_args()
    command: Command = arguments.command
    exempt_loopback(os.environ)
    remove_libpq_variables(os.environ)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _exit_on_signal)  # stops the started programs before exiting
    try:
        return command(arguments)
    except (HomeUnusable, PortTaken) as error:
        _write_error(error, arguments)
    except BrokenPipeError:  # `make status | head`: what was printed is all that is wanted
        _discard_output(sys.stdout)
        return 0
    except OSError as error:
        message = _message_about(error)
        if message is None:
            raise
        _write_error(HomeUnusable(message), arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m idrl_local", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, run: Command, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text)
        command.set_defaults(command=run)
        return command

    up = add("up", _up, "start the system in the background")
    up.add_argument("--error-kinds", action="store_true", help="print the class of an error first")
    add("down", _down, "stop the system, keep its data")
    reload_help = "start new processes of web or tasks, or read a new certificate, without a gap"
    reload = add("reload", _reload, reload_help)
    reload.add_argument("name", nargs="?", default="")
    restart = add("restart", _restart, "stop and start web or tasks; connections wait meanwhile")
    restart.add_argument("name", nargs="?", default="")
    add("status", _status, "show address, readiness, work, disk, processes")
    _add_log_options(add("logs", _logs, "follow what all processes log"))
    demo_help = "make clips of a video through the public API, then stop again"
    _add_demo_options(add("demo", _demo, demo_help))
    system_help = "run a command with a system of its own, whose address is in BASE_URL"
    with_system = add("with-system", _with_system, system_help)
    with_system.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    users = add("users", _users, "manage the accounts of the running system")
    users.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    add(
        "exec", _exec, "replace this process by one of the system's (for supervisord)"
    ).add_argument("name")
    return parser


def _add_log_options(logs: argparse.ArgumentParser) -> None:
    logs.add_argument("--service", help="only lines of this process")
    logs.add_argument("--task", help="only lines about this task")
    logs.add_argument("--level", default="DEBUG", help="only lines of this level and above")
    logs.add_argument("--json", action="store_true", help="print the lines unchanged")
    logs.add_argument("--no-follow", action="store_true", help="print the existing lines and exit")


def _add_demo_options(demo: argparse.ArgumentParser) -> None:
    demo.add_argument("--video", help="a file to use instead of the sample")
    demo.add_argument("--url", help="a link to use instead of the sample")
    demo.add_argument(
        "--at",
        help="the address of a running system, to use instead of starting one; with --url",
    )


def _message_about(error: OSError) -> str | None:
    """Return what the caller can do about an error of the home's files."""
    if error.errno in _DISK_FULL:
        return _DISK_FULL_MESSAGE
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename} is closed to you: be the user who started the system, or root"
    return None


def _print(line: str, stream: TextIO | None = None) -> None:
    """Print a line, on standard error by default; the command goes on where its reader has ended.

    `make up 2>&1 | head` ends its reader long before the system is up.
    """
    try:
        print(line, file=stream or sys.stderr, flush=True)
    except BrokenPipeError:
        _discard_output(stream or sys.stderr)


def _discard_output(stream: TextIO) -> None:
    """Lead a stream nowhere, so that the interpreter's last flush does not fail either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write_error(error: Exception, arguments: argparse.Namespace) -> None:
    kind = f"{type(error).__name__}: " if getattr(arguments, "error_kinds", False) else ""
    _print(f"{kind}{error}")


def _drop_privileges(home: Home) -> None:
    """Execute the same command as the unprivileged user if root runs it."""
    from idrl_local import privileges

    if privileges.is_root() and (sys.argv[1] == "up" or not privileges.runs_as_root(home)):
        home.create()
        command, env = privileges.command_for_root(home, sys.argv[1:], os.environ)
        os.execvpe(command[0], command, env)  # noqa: S606 # this is what it is for


def _exit_on_signal(number: int, _: object) -> None:
    sys.exit(128 + number)


def _up(arguments: argparse.Namespace) -> int:
    home = Home.from_environment(os.environ)
    ports = Ports.starting_at(port_from_environment(os.environ))
    home.create()
    _drop_privileges(home)
    from idrl_local import privileges, system  # late: _drop_privileges may exec

    try:
        installation = system.up(home, ports, os.environ, _print)
    except system.SystemFailed as error:
        _write_error(error, arguments)
        return 1
    address, sample = installation.url, installation.sample_url
    _print(_NEXT_STEPS.format(url=address, sample=sample, home=home.root), sys.stdout)
    if message := privileges.warning(home):
        _print(message)
    _warn_of_certificate(home)
    return 0


def _warn_of_certificate(home: Home) -> None:
    from idrl_local import settings_check, tls

    certificate = settings_check.stored_settings(home).get("TLS_CERT")
    for line in tls.warnings(Path(certificate)) if certificate else ():
        _print(line)


def _down(_: argparse.Namespace) -> int:
    from idrl_local import supervision, system

    home = Home.from_environment(os.environ)
    try:
        system.down(home, _print)
    except supervision.ProgramFailed as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:  # the unprivileged user's command has said why
        return 1
    _print(f"idrl is down; its data stays in {home.root}", sys.stdout)
    return 0


def _reload(arguments: argparse.Namespace) -> int:
    from idrl_local import supervision

    act = _reload_nginx if arguments.name == "nginx" else supervision.reload_program
    return _act_on_running(arguments.name, act, _RELOADED)


def _reload_nginx(home: Home, name: str) -> None:
    """Have nginx read a renewed certificate; root's files are copied for its user first."""
    from idrl_local import settings_check, supervision, tls

    settings = tls.renewed(home, settings_check.stored_settings(home), os.environ)
    os.environ.update(settings)
    _drop_privileges(home)
    tls.install(settings, home.run / "nginx")
    settings_check.store_settings(home, {**settings_check.stored_settings(home), **settings})
    supervision.reload_program(home, name)
    _, state = tls.state_of(Path(settings["TLS_CERT"]))
    print(f"nginx reads the certificate, which is {state}")
    _warn_of_certificate(home)


def _restart(arguments: argparse.Namespace) -> int:
    def restart(home: Home, name: str) -> None:
        _drop_privileges(home)  # the new processes are tried, and may make files
        from idrl_local import restarts

        restarts.restart(home, name)

    return _act_on_running(arguments.name, restart, _RESTARTED)


def _act_on_running(name: str, act: Callable[[Home, str], None], services: Sequence[str]) -> int:
    from idrl_local import supervision

    if name not in services:
        other = f", not {name!r}" if name else ""
        raise HomeUnusable(f"SERVICE must be {' or '.join(services)}{other}")
    home = Home.from_environment(os.environ)
    _require_running(home)
    try:
        act(home, name)
    except supervision.ProgramFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _require_running(home: Home) -> None:
    from idrl_local import supervision

    if not supervision.is_running(home):
        raise HomeUnusable("the system is down: make up")


def _status(_: argparse.Namespace) -> int:
    from idrl_local import status, supervision

    home = Home.from_environment(os.environ)
    _drop_privileges(home)
    if left := supervision.left_running(home):
        print(
            f"supervisord was killed; {', '.join(left)} run on from {home.root}, and nothing"
            " restarts them: `make up` starts all of it again, `make down` stops them"
        )
        return _DOWN
    if not supervision.is_running(home):
        print(f"down: nothing runs from {home.root}; `make up` starts it")
        return _DOWN
    for line in status.lines(home):
        print(line)
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    from idrl_local import logs

    level = arguments.level.upper()
    if level not in logs.LEVELS:
        raise HomeUnusable(f"LEVEL={arguments.level} is none of {', '.join(logs.LEVELS)}")
    try:
        logs.show(
            Home.from_environment(os.environ),
            logs.Filter(arguments.service, arguments.task, level),
            as_json=arguments.json,
            follow=not arguments.no_follow,
        )
    except (KeyboardInterrupt, BrokenPipeError):  # Ctrl-C or a closed pipe
        return 0
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from idrl_local.demo_options import DemoOptions

    options = DemoOptions(arguments.video, arguments.url, arguments.at)
    options.check(os.environ)
    home = Home.from_environment(os.environ)
    home.create()
    from idrl_local import demo  # imported late: the checks do not need it

    return demo.run(home, options, os.environ)


def _with_system(arguments: argparse.Namespace) -> int:
    from idrl_local import run_with_system

    return run_with_system.run(arguments.words, os.environ)


def _users(arguments: argparse.Namespace) -> int:
    from idrl_local import programs, system

    home = Home.from_environment(os.environ)
    _drop_privileges(home)
    _require_running(home)
    installation = programs.Installation(
        home, system.running_ports(home), home.secrets(), os.environ
    )
    programs.manage_users(installation, arguments.words)
    return 1


def _exec(arguments: argparse.Namespace) -> int:
    from idrl_local import programs, supervision

    home = Home.from_environment(os.environ)
    if arguments.name == supervision.SUPERVISORD:
        supervision.execute(home)
    program = next(program for program in programs.PROGRAMS if program.name == arguments.name)
    ports = Ports.starting_at(port_from_environment(os.environ))
    programs.execute(program, programs.Installation(home, ports, home.secrets(), os.environ))
    return 1


if __name__ == "__main__":
    sys.exit(main())
