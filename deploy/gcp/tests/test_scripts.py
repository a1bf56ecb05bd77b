"""The scripts say what is wrong before they do anything."""

import os
import re
import subprocess
from pathlib import Path

import pytest

GCP = Path(__file__).parents[1]
SCRIPTS = ["secrets", "settings", "release", "images", "tf", "up", "upgrade", "down"]


def run(
    script: str, *arguments: str, path: str = os.environ["PATH"], typed: str = ""
) -> tuple[int, str]:
    """Return the exit code and the output of a script."""
    command = ["/bin/bash", str(GCP / script), *arguments]
    done = subprocess.run(
        command,
        env={"PATH": path},
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def path_of_stubs(folder: Path) -> str:
    """Return a PATH on which the programs that would reach a cloud do nothing."""
    for program in ("gcloud", "terraform", "git", "openssl"):
        (folder / program).symlink_to("/bin/true")
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("project", ["", "My-Project", "a", "x; id"])
def test_invalid_project_id_is_refused(script: str, project: str) -> None:
    code, output = run(script, project)
    assert code == 1
    assert "project_invalid" in output


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    code, output = run("up", "a-project-of-tests", path=str(tmp_path))
    assert code == 1
    assert "program_missing: git is not installed" in output


def test_tf_without_a_command_is_refused(tmp_path: Path) -> None:
    code, output = run("tf", "a-project-of-tests", path=path_of_stubs(tmp_path))
    assert code == 1
    assert "usage: tf PROJECT COMMAND" in output


def test_nothing_is_deleted_without_its_name(tmp_path: Path) -> None:
    code, output = run("down", "a-project-of-tests", path=path_of_stubs(tmp_path), typed="yes\n")
    assert code == 1
    assert "not_confirmed: nothing was deleted" in output


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("203.0.113.7", '"203.0.113.7"'),
        ("1.5", "1.5"),
        ("007", "007"),
        ("5.", '"5."'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("${x}%{y}", '"$${x}%%{y}"'),
        ("ñandú $5", '"ñandú $5"'),
        ("true", "true"),
        ('["a"]', '["a"]'),
    ],
)
def test_a_setting_is_written_in_terraforms_language(
    tmp_path: Path, value: str, written: str
) -> None:
    path = path_of_stubs(tmp_path)
    (tmp_path / "gcloud").unlink()
    (tmp_path / "gcloud").write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '"storage buckets list"*) echo a-project-of-tests-idrl-state ;;\n'
        '"storage ls"*) echo matched no objects >&2; exit 1 ;;\n'
        f'"storage cp -"*) cat >{tmp_path}/kept ;;\n'
        "esac\n"
    )
    (tmp_path / "gcloud").chmod(0o755)
    code, output = run("settings", "a-project-of-tests", f"domain={value}", path=path)
    assert code == 0, output
    assert (tmp_path / "kept").read_text().strip() == f"domain = {written}"


@pytest.mark.parametrize("script", [*SCRIPTS, "lib.sh"])
def test_bash_of_macos_can_run_it(script: str) -> None:
    """Under `set -u` bash 3.2 takes an empty array for an unset one."""
    text = (GCP / script).read_text()
    for name in re.findall(r"^\s*(\w+)=\(\)", text, re.MULTILINE):
        plain = f'"${{{name}[@]}}"'
        guarded = f"${{{name}[@]+{plain}}}"
        assert plain not in text.replace(guarded, "").replace(f'{plain}\n"', ""), name
    # Of bash 4 and later.
    assert not re.search(r"declare -A|mapfile|readarray|\$\{\w+(\^\^|,,)|&>>|\|&", text)
