"""Every gcloud command of the scripts and the documents has a name and options that gcloud knows.

gcloud checks them before it asks for an account, which it does not have here: that it asks is the
proof. No call is made.
"""

import functools
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
# The first test runs all commands, beside other checks.
pytestmark = pytest.mark.timeout(600)
_GCLOUD = re.compile(r"(?<![\w/-])gcloud(?= [a-z])")
# In a document only code blocks and code spans contain commands.
_GCLOUD_IN_CODE = re.compile(
    r"(?:(?<=`)|(?<=\n)|(?<=\n    )|(?<=\n       )|(?<=\())gcloud(?= [a-z])"
)
# These hold the address of a bucket or of an object.
_ADDRESS = re.compile(r"\$\{?(?:url|bucket|state_bucket|release_bucket|kept_settings|1%/\*)\}?")
# What gcloud parses before it asks for an account.
_KNOWN = {
    "$registry": "europe-west1-docker.pkg.dev/some-project/some-repository",
    "$gcp/": f"{CHECKOUT}/deploy/gcp/",
}
_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+|\b[A-Z]{2,}\b(?!=)")
_SEPARATORS = ";&|()<>`\n"
_ASKS_FOR_AN_ACCOUNT = "do not currently have an active account selected"


def commands() -> list[tuple[str, ...]]:
    """Return every gcloud command, without what follows it on its line, each once."""
    command = ["git", "ls-files", "deploy", "docs"]
    listed = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    written = [
        name for name in listed if "/tests/" not in name and Path(name).suffix in {"", ".md", ".sh"}
    ]
    return sorted({command for name in written for command in commands_of(CHECKOUT / name)})


def commands_of(file: Path) -> list[tuple[str, ...]]:
    """Return a file's commands, with a value for each variable or NAME, without comments."""
    pattern = _GCLOUD_IN_CODE if file.suffix == ".md" else _GCLOUD
    text = re.sub(r"^\s*#.*", "", re.sub(r"\\\n\s*", " ", file.read_text()), flags=re.MULTILINE)
    commands = [words_at(text[match.start() :]) for match in pattern.finditer(text)]
    return [tuple(with_values(word) for word in words) for words in commands]


def with_values(word: str) -> str:
    """Return a word of a command with a value for each variable."""
    for name, value in _KNOWN.items():
        word = word.replace(name, value)
    return _VARIABLE.sub("some-value", _ADDRESS.sub("gs://some-value", word))


def words_at(text: str) -> tuple[str, ...]:
    """Return the words of the command that the text begins with."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_SEPARATORS)
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    for word in lexer:
        if word[0] in _SEPARATORS:
            return tuple(words[:-1] if word[0] == ">" and words[-1] == "2" else words)
        words.append(word)
    return tuple(words)


@functools.cache
def answers(folder: Path) -> dict[tuple[str, ...], str]:
    """Run all of them, two at a time, each with its own settings and home; return the outputs."""
    own = {"CLOUDSDK_CONFIG": str(folder / "config"), "CLOUDSDK_CORE_PROJECT": "a-project-of-tests"}
    environment = {**os.environ, **own, "HOME": str(folder)}

    def run(command: tuple[str, ...]) -> str:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return done.stderr

    # Logging in would ask a person; what it takes is in its help.
    called = [command for command in commands() if command[1] != "auth"]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(called, pool.map(run, called), strict=True))


def test_commands_are_found_in_the_scripts() -> None:
    assert len(commands()) >= 15


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_gcloud_accepts_the_command(
    command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if command[1] == "auth":
        options = {word.partition("=")[0] for word in command if word.startswith("--")}
        words = [word for word in command if not word.startswith("--")]
        shown = subprocess.run(
            [*words, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
        assert options <= set(
            re.findall(r"--[a-z-]+", re.sub(r".\x08|\x1b\[[0-9;]*m", "", shown.stdout))
        )
        return
    answer = answers(tmp_path_factory.getbasetemp())[command]
    assert _ASKS_FOR_AN_ACCOUNT in " ".join(answer.split()), answer


def test_an_unknown_option_is_found(tmp_path: Path) -> None:
    done = subprocess.run(
        ["gcloud", "secrets", "versions", "list", "x", "--project=p", "--newest"],
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "unrecognized arguments: --newest" in done.stderr
