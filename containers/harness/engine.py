"""The Docker engine: the one that answers, else our own, installed from Debian if needed."""

import ipaddress
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

_PACKAGES = ("docker.io", "docker-compose", "iptables", "mmdebstrap", "openssl")
_PROGRAMS = ("dockerd", "docker-compose", "iptables", "mmdebstrap", "openssl")
_START_S = 300


class EngineFailed(Exception):
    """An engine command failed, or the engine did not start; the message ends with its output."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    `environment` is what every command for it must be given, `build_options` every build.
    """

    environment: Mapping[str, str]
    build_options: tuple[str, ...] = ()

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command against this engine, return its output; raise EngineFailed on failure."""
        done = subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise EngineFailed(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def docker(self, *arguments: str) -> str:
        return self.run("docker", *arguments)

    def build(self, name: str, *arguments: str) -> None:
        """Build the image of that name."""
        self.docker("build", *self.build_options, "--tag", name, *arguments)

    def succeeds(self, *arguments: str) -> bool:
        """Return whether the docker command succeeds."""
        try:
            self.docker(*arguments)
        except EngineFailed:
            return False
        return True

    def gateway(self) -> str:
        """Return this machine's address on the default bridge, reachable by containers only."""
        network = json.loads(
            self.docker("network", "inspect", "bridge", "-f", "{{json (index .IPAM.Config 0)}}")
        )
        # Without a configured gateway the engine reports none: it is the network's first address.
        return str(network.get("Gateway") or ipaddress.ip_network(network["Subnet"])[1])


@contextmanager
def running(folder: Path) -> Iterator[Engine]:
    """Yield an engine.

    One that had to be started keeps everything in `folder`, and is stopped in the end.
    """
    _install()
    engine = Engine(_environment())
    if engine.succeeds("info"):
        yield engine
        return
    with _started(folder, folder / "data") as engine:
        yield engine


def without_daemon() -> Engine:
    """Return what runs commands that need no engine, such as `docker-compose config`."""
    _install()
    return Engine(_environment())


@contextmanager
def for_builds(folder: Path, data: Path) -> Iterator[Engine]:
    """Yield an engine of our own that keeps images in `data` and only builds.

    It leaves the machine's network as it is.
    """
    _install()
    options = (
        "--storage-driver=overlay2",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    )
    with _started(folder, data, *options) as engine:
        yield replace(engine, build_options=("--network=host",))


def _environment() -> dict[str, str]:
    # The classic builder, which Debian's docker-compose speaks to; BuildKit would need a plug-in
    # that it has not.
    return {**os.environ, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}


def _install() -> None:
    if all(shutil.which(program) for program in _PROGRAMS):
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (("update",), ("install", "-y", "--no-install-recommends", *_PACKAGES)):
        subprocess.run(
            ["apt-get", "-qq", *command], env=quiet, stdout=subprocess.DEVNULL, check=True
        )


@contextmanager
def _started(folder: Path, data: Path, *options: str) -> Iterator[Engine]:
    socket = f"unix://{folder}/docker.sock"
    command = ["dockerd", "--host", socket, "--data-root", str(data), *options]
    command += ["--exec-root", str(folder / "exec"), "--pidfile", str(folder / "dockerd.pid")]
    with (folder / "dockerd.log").open("wb") as log:
        # In a group of its own, so that an interrupt from the keyboard does not take it away before
        # the containers.
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            engine = Engine({**_environment(), "DOCKER_HOST": socket})
            _wait(engine, daemon, folder / "dockerd.log")
            yield engine
        finally:
            daemon.terminate()
            daemon.wait(60)


def _wait(engine: Engine, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not engine.succeeds("info"):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise EngineFailed(f"dockerd did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)
