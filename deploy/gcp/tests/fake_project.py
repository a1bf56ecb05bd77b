"""A checkout with two commits and a project of the stand-in cloud, and the scripts run on both."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.gcp.offline.cloud import Cloud, Project

GCP = Path(__file__).parents[1]
CHECKOUT = GCP.parents[1]
PROJECT = "a-project-of-tests"
# The state is a file in the stand-in's folder, where the scripts name a bucket.
_TERRAFORM = """#!/bin/sh
case $2 in
init)
    for word in "$@"; do
        case $word in -backend-config=bucket=*) bucket=${{word##*=}} ;; esac
    done
    exec {terraform} "$1" init -input=false -reconfigure \
        -backend-config="path=$IDRL_CLOUD/states/$bucket.tfstate"
    ;;
esac
lock=$IDRL_CLOUD/states/lock
case $2 in
plan | apply | destroy | import)
    if [ -e "$lock" ]; then
        echo "Error: Error acquiring the state lock: ID: some-lock" >&2
        exit 1
    fi
    echo >"$lock"
    sh -c 'echo $$ >"$IDRL_CLOUD/terraform.pid"; exec {terraform} "$@"' sh "$@"
    code=$?
    # Killed: as in a bucket, the lock stays.
    [ "$code" = 137 ] || rm "$lock"
    exit "$code"
    ;;
force-unlock) exec rm "$lock" ;;
esac
exec {terraform} "$@"
"""


@dataclass
class Done:
    """How a script ended, and what it printed."""

    code: int
    output: str


class FakeProject:
    """A checkout, programs that stand in for Google's, and what the cloud holds."""

    def __init__(self, folder: Path, programs: dict[str, str]) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        self.cloud = Cloud(Path(os.environ["IDRL_CLOUD"]))
        shutil.rmtree(self.cloud.folder)
        (self.cloud.folder / "states").mkdir(parents=True)
        self.cloud.reset()
        self._make_programs(programs)
        self._make_checkout()

    def _make_programs(self, programs: dict[str, str]) -> None:
        (self.folder / "bin").mkdir()
        terraform = _TERRAFORM.format(terraform=shutil.which("terraform"))
        for name, text in {**programs, "terraform": terraform}.items():
            path = self.folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)

    def _make_checkout(self) -> None:
        module = self.checkout / "deploy" / "gcp"
        module.mkdir(parents=True)
        for path in GCP.iterdir():
            if path.is_file():
                shutil.copy(path, module)
        (module / "backend.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        (self.checkout / "deploy" / "provision").mkdir()
        shutil.copy(GCP.parent / "provision" / "bootstrap", self.checkout / "deploy" / "provision")
        (self.checkout / ".gitignore").write_text(".cache\n")
        self._git("init", "--quiet")
        self.commit("first")

    def commit(self, subject: str) -> str:
        """Make a commit, and return its revision as the scripts call it."""
        (self.checkout / "file").write_text(subject)
        self._git("add", "--all")
        self._git("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", subject)
        return self.revision()

    def revision(self) -> str:
        return self._git("rev-parse", "--short=12", "HEAD").strip()

    def _git(self, *words: str) -> str:
        command = ["git", "-C", str(self.checkout), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def run(self, script: str, *arguments: str, typed: str = "") -> Done:
        """Run a script of the folder in a session of its own, which the stand-in may kill."""
        variables = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
            "IDRL_RETRY_S": "0",
            "TF_CLI_ARGS": "-no-color",
            # How the tests' Terraform finds the stand-in of its provider.
            **{
                name: value
                for name, value in os.environ.items()
                if name.startswith(("TF_", "IDRL_", "CHECKPOINT"))
            },
        }
        done = subprocess.run(
            ["/bin/bash", str(self.checkout / "deploy" / "gcp" / script), PROJECT, *arguments],
            env={**variables, "HOME": str(self.folder)},
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            start_new_session=True,
            timeout=300,
        )
        return Done(done.returncode, done.stdout)

    def up(self, *settings: str) -> Done:
        variables = [word for setting in settings for word in ("-var", setting)]
        return self.run("up", *variables, "-auto-approve")

    def down(self) -> Done:
        return self.run("down", typed=f"{PROJECT}\n")

    def project(self) -> Project:
        return self.cloud.read()

    def end_at_each_step(self) -> None:
        with self.cloud.change() as project:
            project.ended_at = []

    def repaired(self) -> None:
        """Let what failed at a step work again, and forget whom an upgrade left answering."""
        with self.cloud.change() as project:
            project.broken = False
