"""Typical mistakes are answered at once, by one line that says what to do, and an exit code."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from idrl_client.login import Login, load, save
from idrl_testing import site as web_site
from idrl_testing.site import Site

PROBLEM = (
    b'{"type": "urn:idrl:problem:token_expired", "title": "Unauthorized", "status": 401,'
    b' "detail": "The token has expired; log in again.", "code": "token_expired"}'
)


@pytest.fixture(scope="module")
def other_site() -> Iterator[Site]:
    """A web site that is not an idrl system, and refuses one key as idrl would."""
    with web_site.serve() as site:
        site.add("usage", answer=lambda request: request.send(401, PROBLEM))
        yield site


def idrl(*arguments: str, home: Path, typed: str = "", **environment: str) -> tuple[int, str]:
    """Run the command, which must fail, and return its exit code and its only line."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "idrl_client", *arguments],
        env={**kept, "XDG_CONFIG_HOME": str(home / "config"), **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input=typed,
    )
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return done.returncode, line


@pytest.mark.parametrize("module", ["click", "requests", "truststore"])
def test_an_interrupt_during_the_imports_is_one_line(tmp_path: Path, module: str) -> None:
    """They take half a second, and seconds on a busy machine."""
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    for arguments in (("ls",), ("--version",)):
        assert idrl(*arguments, home=tmp_path, PYTHONPATH=str(tmp_path)) == (
            130,
            "idrl: interrupted",
        )


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_an_interrupt_that_cannot_be_printed(tmp_path: Path, redirection: str) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m idrl_client ls {redirection}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 130


@pytest.mark.parametrize("arguments", ["ls --json --max 0", "clip --json", "lst --json"])
def test_a_wrong_option_is_json_as_well(tmp_path: Path, arguments: str) -> None:
    code, line = idrl(*arguments.split(), home=tmp_path, **LOGGED_IN)
    assert code == 2
    error = json.loads(line)
    assert error["exit_code"] == 2
    assert "see `idrl" in error["error"]


LOGGED_IN = {"IDRL_URL": "http://127.0.0.1:1", "IDRL_KEY": "idrl_k"}
LINK = "https://a.example/v.mp4"


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "expected"),
    [
        ("ls", {}, 3, "not logged in: `idrl login URL`, or set IDRL_URL and IDRL_KEY"),
        ("ls", {"IDRL_URL": "idrl.example"}, 3, "must begin with http:// or https://"),
        ("ls", {"IDRL_URL": "http://127.0.0.1:1"}, 3, "there is no key for http://127.0.0.1:1"),
        ("ls", {**LOGGED_IN, "IDRL_KEY": "a key"}, 3, "characters that no key has"),
        ("ls", LOGGED_IN, 5, "no system answers at http://127.0.0.1:1"),
        ("ls", {**LOGGED_IN, "IDRL_URL": "HTTP://127.0.0.1:1"}, 5, "no system answers at"),
        ("login HTTP://127.0.0.1:1", {}, 3, "no key was given"),
        ("clip HTTPS://a.example/v.mp4", LOGGED_IN, 5, "no system answers at"),
        ("ls", {**LOGGED_IN, "IDRL_URL": "http://a.invalid"}, 5, "no system answers at http://a."),
        ("ls", {**LOGGED_IN, "IDRL_URL": "http://["}, 5, "http://[ is not a valid address"),
        ("ls", {**LOGGED_IN, "IDRL_URL": f"http://{'a' * 64}.example"}, 5, "is not a valid"),
        ("ls", {**LOGGED_IN, "IDRL_URL": "http://a.example:99999"}, 5, "is not a valid address"),
        ("login http://127.0.0.1:1", {}, 3, "no key was given"),
        ("login http://127.0.0.1:1 --email a@a.example", {}, 3, "no password was given"),
        ("login http://[", {}, 3, "no key was given"),
        ("ls --max 0", LOGGED_IN, 2, "see `idrl ls --help`"),
        ("lst", {}, 2, "No such command 'lst'"),
        ("show", {}, 2, "Missing argument 'TASK'"),
        ("login", {}, 3, "say which system"),
        ("login ftp://a.example", {}, 3, "say which system"),
        ("clip", LOGGED_IN, 2, "Missing argument"),
        ("clip ftp://a.example/v.mp4", LOGGED_IN, 7, "is neither a file here nor a link"),
        ("clip talk.mp4", LOGGED_IN, 7, "talk.mp4 is neither a file here nor a link"),
        (f"clip {LINK} --aspect 3:2", LOGGED_IN, 2, "'3:2' is not one of"),
        (f"clip {LINK} --seconds 90", LOGGED_IN, 2, "90.0 is not in the range"),
        (f"clip {LINK} --cut scenes", LOGGED_IN, 2, "'scenes' is not one of"),
        (f"clip {LINK} --brand Race", LOGGED_IN, 5, "no system answers at"),
        ("start", LOGGED_IN, 2, "Missing argument"),
        ("brands add", LOGGED_IN, 2, "Missing argument 'NAME'"),
        ("brands add Race --before no.png", LOGGED_IN, 7, "no.png cannot be read: No such file"),
        ("brands add Race --after .", LOGGED_IN, 7, "cannot be read: Is a directory"),
        ("brands add Race --place middle", LOGGED_IN, 2, "'middle' is not one of"),
        ("brands add Race --opacity 2", LOGGED_IN, 2, "2.0 is not in the range"),
        ("brands show", LOGGED_IN, 2, "Missing argument 'BRAND'"),
        ("brands rm", LOGGED_IN, 2, "Missing argument"),
        (f"clip {LINK} --colour red", LOGGED_IN, 2, "No such option"),
        (f"clip {LINK} --segments no.csv", LOGGED_IN, 7, "no.csv cannot be read"),
        (f"clip {LINK} --seconds nan", LOGGED_IN, 2, "is not a finite number"),
        ("brands add Race --opacity nan", LOGGED_IN, 2, "is not a finite number"),
        (f"clip {'a' * 300}", LOGGED_IN, 7, "is neither a file here nor a link"),
        (f"clip {LINK} --segments {'a' * 300}", LOGGED_IN, 7, "cannot be read"),
        (f"clip {LINK} -o {'a' * 300}", LOGGED_IN, 7, "File name too long"),
        (f"clip {LINK} -o config", LOGGED_IN, 2, "is a file"),
    ],
)
def test_mistake(
    tmp_path: Path, arguments: str, environment: dict[str, str], code: int, expected: str
) -> None:
    if "-o config" in arguments:
        (tmp_path / "config").touch()
    completed = idrl(*arguments.split(), home=tmp_path, **environment)
    assert completed[0] == code
    assert expected in completed[1]


@pytest.mark.parametrize("name", ["", ".", ".."])
@pytest.mark.parametrize("command", ["show", "rm", "retry", "start"])
def test_name_that_no_path_keeps_is_not_found(tmp_path: Path, command: str, name: str) -> None:
    """As of a variable that is not set: `idrl rm "$TASK"` was method_not_allowed."""
    code, line = idrl(command, name, home=tmp_path, **LOGGED_IN)
    assert (code, f"nothing has the id '{name}'" in line) == (4, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["clip", LINK, "--brand"],
        ["clip", LINK, "--segments"],
        ["clip", LINK, "-o"],
        ["login", "http://127.0.0.1:1", "--email"],
        ["brands", "add", "Race", "--watermark"],
        ["brands", "show", "Race", "--preview"],
    ],
)
def test_option_that_is_empty_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    """`--brand "$BRAND"` made clips with the default one, `-o "$DIR"` put them where one was."""
    code, line = idrl(*arguments, "", home=tmp_path, **LOGGED_IN)
    assert (code, "it is empty" in line, arguments[-1] in line) == (2, True, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["ls", "-q"], ["show"], ["brands", "add"], ["retry"]])
def test_argument_that_is_not_utf_8(tmp_path: Path, arguments: list[str]) -> None:
    code, line = idrl(*arguments, os.fsdecode(b"caf\xe9"), home=tmp_path, **LOGGED_IN)
    assert (code, "is not valid UTF-8" in line) == (2, True)


def test_file_of_a_brand_whose_name_is_not_utf_8_is_sent(tmp_path: Path) -> None:
    logo = tmp_path / os.fsdecode(b"caf\xe9.png")
    logo.write_bytes(b"image")
    completed = idrl("brands", "add", "Race", "--before", str(logo), home=tmp_path, **LOGGED_IN)
    assert (completed[0], "no system answers" in completed[1]) == (5, True)


@pytest.mark.parametrize("arguments", [[], ["brands"]])
def test_no_command_shows_the_help(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "idrl_client", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: {' '.join(['idrl', *arguments])} ")
    assert "see `idrl" not in done.stderr


def test_brand_of_more_than_32_mib_is_not_sent(tmp_path: Path) -> None:
    for name, size_mib in (("intro.mp4", 20), ("outro.mp4", 13)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size_mib * 1024 * 1024)
    order = ["brands", "add", "Race", "--before", "intro.mp4", "--after", "outro.mp4"]
    code, line = idrl(*order, home=tmp_path, **LOGGED_IN)
    assert (code, "outro.mp4 is too large" in line) == (7, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no segment"),
        ("1,2\nten,20\n", "line 2: not `start_s,end_s,name`"),
        ("[{]", "is not valid JSON"),
        ("0,nan\n", "line 1: not `start_s,end_s,name`"),
        ("0,20\n20,inf\n", "line 2: not `start_s,end_s,name`"),
        ('[{"start_s": NaN, "end_s": 2}]', "is not valid JSON"),
        ('[{"start_s": 0, "end_s": 1e999}]', "1e999 is not a finite number"),
        ("[" * 100_000, "is not valid JSON"),
        (f"1,2\n3,4,{'x' * 200_000}\n", "line 2: not `start_s,end_s,name`"),
        ('0,20,"Lap\n1"\nten,20\n', "line 3: not `start_s,end_s,name`"),
    ],
)
def test_segments_that_cannot_be_read(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    code, line = idrl("clip", LINK, "--segments", "s.csv", home=tmp_path, **LOGGED_IN)
    assert (code, expected in line) == (7, True)


def test_another_site_and_an_expired_token(tmp_path: Path, other_site: Site) -> None:
    at = {"IDRL_URL": other_site.url, "IDRL_KEY": "k"}
    code, line = idrl("ls", home=tmp_path, **at)
    assert (code, "is IDRL_URL the address of an idrl system?" in line) == (5, True)
    code, line = idrl("usage", home=tmp_path, **at)
    assert (code, "log in with `idrl login`" in line) == (3, True)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let children end on SIGINT: they inherit that a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("usage", "idrl: interrupted"),
        (f"clip {LINK}", "idrl: interrupted"),
        (f"clip {LINK} -o out", "idrl: interrupted; the same command again continues"),
    ],
)
def test_interrupted_clip_can_be_continued(tmp_path: Path, arguments: str, expected: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-m", "idrl_client", *arguments.split()],
            env={**kept, "IDRL_URL": address, "IDRL_KEY": "idrl_k"},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1)  # the command now waits for the answer
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors.splitlines()[-1]) == (130, expected)


def test_stored_key_is_private_and_goes_to_no_other_address(tmp_path: Path) -> None:
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    place = save(Login("https://a.example", "idrl_secret"), here, in_keyring=False)
    assert stat.S_IMODE(Path(place).stat().st_mode) == 0o600
    assert load(here).key == "idrl_secret"
    assert load({**here, "IDRL_KEY": "other"}).key == "other"
    code, line = idrl("ls", home=tmp_path, **here, IDRL_URL="https://b.example")
    assert (code, "there is no key for https://b.example" in line) == (3, True)


@pytest.mark.parametrize(
    "content", ["{", '["a"]', '{"url": 5}', '{"url": "http://a", "key": null}']
)
def test_damaged_login_file_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config" / "idrl").mkdir(parents=True)
    (tmp_path / "config" / "idrl" / "login.json").write_text(content)
    code, line = idrl("ls", home=tmp_path)
    assert (code, "`idrl login URL` writes it again" in line) == (7, True)


def test_login_file_is_not_read_when_both_variables_are_set(tmp_path: Path) -> None:
    (tmp_path / "config" / "idrl").mkdir(parents=True)
    (tmp_path / "config" / "idrl" / "login.json").write_text("{")
    completed = idrl("ls", home=tmp_path, **LOGGED_IN)
    assert (completed[0], "no system answers" in completed[1]) == (5, True)


@pytest.mark.parametrize("key", ["ключ", "idrl_a b", "idrl_\x1b[0m"])
def test_key_that_no_header_can_have_is_not_sent(tmp_path: Path, key: str) -> None:
    completed = idrl("login", "http://127.0.0.1:1", home=tmp_path, typed=f"{key}\n")
    assert (completed[0], "the key has characters that no key has" in completed[1]) == (3, True)


def test_journal_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "out" / ".idrl.json").mkdir(parents=True)
    code, line = idrl("clip", LINK, "-o", "out", home=tmp_path, **LOGGED_IN)
    assert (code, ".idrl.json cannot be read: Is a directory" in line) == (7, True)


@pytest.mark.parametrize(
    ("encoding", "name", "printed"),
    [
        ("utf-8", "vídeo 🎬", "vídeo 🎬".encode()),
        ("latin-1", "vídeo 🎬", b"v\xeddeo \\U0001f3ac"),
        ("utf-8", os.fsdecode(b"\xff.mp4"), b"\xff.mp4"),
    ],
)
def test_every_name_can_be_printed(encoding: str, name: str, printed: bytes) -> None:
    script = "import sys; from idrl_client import output; output.allow_every_name()\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}print({name!r})"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == printed + b"\n"


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "vídeo 🎬"),
        ("latin-1", "vídeo 🎬"),
        ("cp1252", "講演.mp4"),
        ("utf-8", os.fsdecode(b"caf\xe9.mp4")),
    ],
)
def test_json_is_valid_whatever_is_in_a_name(encoding: str, name: str) -> None:
    """On Windows a pipe's encoding is often cp1252, and paths may hold bytes that are not UTF-8."""
    script = "import sys; from idrl_client import output; output.allow_every_name()\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}output.as_json({{'name': {name!r}}})"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout.decode(encoding)) == {"name": name}
