"""What a shell offers after a tab."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("idrl st", {"start"}),
        ("idrl brands ", {"add", "default", "ls", "rm", "show"}),
        ("idrl brands add Race --place top", {"top", "top-left", "top-right"}),
        ("idrl clip --cut s", {"scene", "silence"}),
    ],
)
def test_commands_and_choices_are_offered(typed: str, expected: set[str]) -> None:
    words = typed.split(" ")
    environment = {
        **os.environ,
        "_IDRL_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "idrl_client"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected
