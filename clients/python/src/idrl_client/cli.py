"""The command `idrl`."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from idrl_client import clipping, output, segments as segment_files
from idrl_client.brand_commands import brands, find_brand_id
from idrl_client.client import Client
from idrl_client.commands import (
    FiniteRange,
    LocalPath,
    NotEmpty,
    call_each,
    json_option,
    make_client,
)
from idrl_client.connection import is_web_address
from idrl_client.errors import IdrlError, LocalFault, NotLoggedIn, WrongUsage
from idrl_client.login import Login, checked_key, save, stored_url
from idrl_client.models import NewEdit

_INTERRUPTED = 130
# How long to wait for a system that is restarted or upgraded while clips are made.
_FOLLOWING_PATIENCE_S = 900.0

_task_ids = click.argument("task_ids", metavar="TASK…", nargs=-1, required=True)


class _OutputClosed(Exception):  # no error: `idrl ls | head` has all that is wanted
    """Standard output is a closed pipe. Click would turn a BrokenPipeError into exit code 1."""


@contextmanager
def _output_may_close() -> Iterator[None]:
    """Flush standard output: an error of the interpreter's flush at exit could not be handled."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        raise _OutputClosed from error


class _Idrl(click.Group):
    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401 # as click's
        with _output_may_close():  # --help is printed here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 # as click's
        with _output_may_close():
            return super().invoke(ctx)


@click.group(
    cls=_Idrl,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a task failed, 2 wrong option, 3 not logged in, 4 not found,"
    " 5 no answer, 6 refused, 7 local file or disk error, 130 interrupted.",
)
@click.version_option(package_name="idrl-client", prog_name="idrl")
def idrl() -> None:
    """Make short branded clips of videos. IDRL_URL and IDRL_KEY override `idrl login`."""


@idrl.command()
@click.argument("url", required=False)
@click.option("--email", type=NotEmpty(), help="Log in with a password, and create a key.")
@click.option("--no-keyring", is_flag=True, help="Store the key in a file of mode 0600.")
@json_option
def login(url: str | None, email: str | None, *, no_keyring: bool, as_json: bool) -> None:
    """Store the address of a system and an API key, read from a prompt or standard input."""
    url = (url or stored_url(os.environ) or "").rstrip("/")
    if not is_web_address(url):
        raise NotLoggedIn("say which system: `idrl login https://idrl.example.com`")
    secret = _password() if email else _key()
    if email:
        named = f"idrl on {socket.gethostname()}"[:100]
        secret = Client.logged_in(url, email, secret).create_key(named)["key"]
    account = Client(url, secret).account()
    place = save(Login(url, secret), os.environ, in_keyring=not no_keyring)
    if as_json:
        output.as_json({"url": url, "username": account["username"], "key_is_in": place})
    else:
        output.write_line(f"logged in at {url} as {account['username']}; the key is in {place}")


def _password() -> str:
    """Return the password as it was typed, with leading and trailing spaces."""
    password = _secret("Password")
    if not password:
        raise NotLoggedIn("no password was given on standard input")
    return password


def _key() -> str:
    key = _secret("Key (idrl_…)").strip()
    if not key:
        raise NotLoggedIn("no key was given: create one on the page, or use --email EMAIL")
    return checked_key(key, "the key")


def _secret(prompt: str) -> str:
    if sys.stdin is None:  # closed, as by `<&-`
        return ""
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


@idrl.command()
@click.argument("sources", metavar="URL|FILE…", nargs=-1, required=True)
@click.option("--seconds", type=FiniteRange(2, 60), help="Longest clip, without bumpers.")
@click.option("--aspect", type=click.Choice(["16:9", "9:16", "1:1", "4:5", "source"]))
@click.option("--fit", type=click.Choice(["crop", "pad", "blur"]))
@click.option("--quality", type=click.Choice(["fast", "balanced", "small"]))
@click.option(
    "--cut", type=click.Choice(["exact", "keyframe", "silence", "scene"]), help="Where parts end."
)
@click.option("--brand", type=NotEmpty(), help="Id or name of your brand, `built-in`, or `none`.")
@click.option(
    *("--segments", "segments_file"),
    type=LocalPath(),
    help="Only these time ranges: a file with JSON, or lines `start_s,end_s,name`.",
)
@click.option(
    *("-o", "--output", "folder"),
    type=LocalPath(file_okay=False),
    help="Download the clips into this folder; repeat the command to continue.",
)
@click.option("--wait", is_flag=True, help="Wait until the tasks have ended (-o does too).")
@click.option(
    *("--plan", "is_plan"),
    is_flag=True,
    help="Show where clips would end; `idrl start`, or the same -o without --plan, makes them.",
)
@json_option
def clip(
    sources: tuple[str, ...],
    folder: Path | None,
    *,
    wait: bool,
    is_plan: bool,
    as_json: bool,
    **choices: Any,  # noqa: ANN401 # the options that make the edit
) -> None:
    """Make clips of videos and print their paths, or the tasks' ids without -o."""
    wanted = list(dict.fromkeys(map(_link, sources)))
    client = make_client(_FOLLOWING_PATIENCE_S if folder or wait or is_plan else None)
    edit = _edit(client, **choices)
    with output.Progress() as progress:
        if folder:
            with _interruptible():
                jobs = clipping.into_folder(client, wanted, edit, folder, progress, is_plan=is_plan)
        else:
            jobs = clipping.submit(client, wanted, edit, progress, is_plan=is_plan)
            if wait or is_plan:
                clipping.follow(client, jobs, None, progress, is_plan=is_plan)
    output.as_json([job.document() for job in jobs]) if as_json else output.jobs(jobs)
    sys.exit(max((job.error.exit_code for job in jobs if job.error), default=0))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let an interrupt say that the command can be continued."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("the same command again continues") from interrupt


def _link(source: str) -> str:
    if is_web_address(source):
        return source
    if os.path.isfile(source):  # noqa: PTH113 # Path's raises where a name is too long
        return str(Path(source).resolve())
    if os.path.exists(source):  # noqa: PTH110 # as above
        raise LocalFault(f"{source} is not a regular file: give a video file or a link")
    raise LocalFault(f"{source} is neither a file here nor a link that begins with http(s)://")


def _edit(
    client: Client,
    *,
    seconds: float | None,
    brand: str | None,
    segments_file: Path | None,
    **choices: str | None,
) -> NewEdit:
    """Return the edit of the options; what is not given is left to the system."""
    fields: dict[str, Any] = {**choices, "part_seconds": seconds}
    if segments_file:
        fields["segments"] = segment_files.read(segments_file)
    if brand:
        fields["brand_id"] = find_brand_id(client, brand)
    edit: NewEdit = {}
    chosen = {name: value for name, value in fields.items() if value is not None}
    edit.update(chosen)  # type: ignore[typeddict-item] # by name
    return edit


@idrl.command()
@click.option("-n", "--max", "limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--status", help="Only these statuses, such as done,failed.")
@click.option("--query", "-q", help="Only with this text in name or URL.")
@json_option
def ls(limit: int, status: str | None, query: str | None, *, as_json: bool) -> None:
    """List your tasks, the newest first."""
    requested = {"status": status, "q": query}
    filters = {name: value for name, value in requested.items() if value}
    rows = make_client().tasks(limit, **filters)
    output.as_json(list(rows)) if as_json else output.tasks(rows)


@idrl.command()
@click.argument("task_id", metavar="TASK")
@json_option
def show(task_id: str, *, as_json: bool) -> None:
    """Show a task and its parts."""
    document = make_client().task(task_id)
    output.as_json(document) if as_json else output.task(document)


@idrl.command()
@_task_ids
@json_option
def rm(task_ids: tuple[str, ...], *, as_json: bool) -> None:
    """Abort live tasks, delete ended ones with their clips."""
    client = make_client()
    call_each(client.delete_task, task_ids, is_json=as_json)


@idrl.command()
@_task_ids
@json_option
def retry(task_ids: tuple[str, ...], *, as_json: bool) -> None:
    """Try failed tasks again; clips that are done stay."""
    client = make_client()
    call_each(client.retry_task, task_ids, is_json=as_json)


@idrl.command()
@_task_ids
@json_option
def start(task_ids: tuple[str, ...], *, as_json: bool) -> None:
    """Begin tasks that were planned with `idrl clip --plan`."""
    client = make_client()
    call_each(client.start_task, task_ids, is_json=as_json)


@idrl.command()
@json_option
def usage(*, as_json: bool) -> None:
    """Show what your account uses, and its limits."""
    document = make_client().usage()
    output.as_json(document) if as_json else output.usage(document)


idrl.add_command(brands)


def main() -> NoReturn:
    """Run the command; an error is one line on standard error, and an exit code."""
    import truststore

    truststore.inject_into_ssl()  # a proxy's CA is only in the system's store, not in certifi
    output.open_closed_streams()
    output.allow_every_name()
    is_json = "--json" in sys.argv
    try:
        code = idrl.main(prog_name="idrl", standalone_mode=False)
    except IdrlError as fault:
        output.error(fault, is_json=is_json)
        code = fault.exit_code
    except click.exceptions.NoArgsIsHelpError as fault:
        output.write_line(fault.format_message())
        code = WrongUsage.exit_code
    except click.UsageError as fault:
        command = fault.ctx.command_path if fault.ctx else "idrl"
        message = f"{fault.format_message().rstrip('.')}: see `{command} --help`"
        output.error(WrongUsage(message), is_json=is_json)
        code = WrongUsage.exit_code
    except (KeyboardInterrupt, click.Abort) as fault:  # click raises Abort for an interrupt
        output.write_line(
            "; ".join(filter(None, ("idrl: interrupted", str(fault.__cause__ or ""))))
        )
        code = _INTERRUPTED
    except UnicodeEncodeError as error:  # an argument whose bytes no request can have
        output.error(WrongUsage(f"{error.object!a} is not valid UTF-8"), is_json=is_json)
        code = WrongUsage.exit_code
    except _OutputClosed:
        output.discard_rest()
        code = 0
    except OSError as error:
        output.discard_rest()
        what = error.filename or "the output cannot be written"
        output.error(LocalFault(f"{what}: {error.strerror}"), is_json=is_json)
        code = LocalFault.exit_code
    sys.exit(code if isinstance(code, int) else 0)
