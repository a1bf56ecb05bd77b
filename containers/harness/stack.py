"""A compose file with its project name and its variables: what one machine runs."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.engine import Engine, EngineFailed

CHECKOUT = Path(__file__).parents[2]


@dataclass
class Stack:
    """The containers of `folder`'s docker-compose.yml, on a network of their own."""

    engine: Engine
    project: str
    folder: Path
    env_file: Path
    program: tuple[str, ...] = ("docker-compose",)  # or Compose v2's, by harness.compose_v2

    def write_env(self, variables: Mapping[str, str]) -> None:
        """Make these the variables of the next commands."""
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))

    def compose(self, *arguments: str) -> str:
        """Run a command of Compose and return what it printed."""
        options = ("--project-name", self.project, "--env-file", str(self.env_file))
        return self.engine.run(
            *self.program, "--ansi", "never", *options, *arguments, cwd=self.folder
        )

    def up(self, *arguments: str) -> None:
        """Start what is not running, and wait for what the order of the services waits for."""
        self.compose("up", "--detach", *arguments)

    def down(self) -> None:
        """Remove the containers, the network and the volumes."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")

    def services(self) -> set[str]:
        """Return the names of the services that run."""
        return set(self.compose("ps", "--services", "--filter", "status=running").split())

    def container(self, service: str) -> str:
        """Return the id of the service's one container."""
        return self.compose("ps", "--quiet", service).strip()

    def exit_code(self, service: str) -> int:
        """Return how the service's container ended; 137 if it had to be killed."""
        stopped = self.compose("ps", "--all", "--quiet", service).strip()
        return int(self.engine.docker("inspect", "--format", "{{.State.ExitCode}}", stopped))

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of the service's container."""
        services: list[dict[str, Any]] = yaml.safe_load(
            self.engine.docker("inspect", self.container(service))
        )
        return services[0]

    def execute(self, service: str, *command: str) -> str:
        """Run a command in the service's container."""
        return self.engine.docker("exec", self.container(service), *command)

    def logs(self) -> str:
        return self.compose("logs", "--tail", "60")


def refusal(engine: Engine, folder: Path, variables: Mapping[str, str]) -> str:
    """Return what docker-compose prints if it refuses these variables; empty otherwise."""
    with tempfile.NamedTemporaryFile("w", suffix=".env") as env_file:
        env_file.writelines(f"{name}={value}\n" for name, value in variables.items())
        env_file.flush()
        command = ("docker-compose", "--env-file", env_file.name, "config", "--quiet")
        try:
            engine.run(*command, cwd=folder)
        except EngineFailed as error:
            return str(error)
    return ""
