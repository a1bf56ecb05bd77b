"""Measures, as root, what docs/operations.md says.

Run `PYTHONPATH=containers .venv/bin/python containers/measure.py`.

Memory: the containers of a worker machine while two 1080p parts are rendered. Speed: one clip
downloaded for the first, second and third time, and the same file as nginx reads it from its own
disk. With `speed` as argument only that.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
from harness import engine as engine_module, images
from harness.engine import Engine
from harness.machines import make_secrets
from harness.stack import CHECKOUT, Stack

from idrl_testing import site
from idrl_testing.api_client import RetryingApiClient, is_ready
from idrl_testing.background import repeating
from idrl_testing.waiting import wait_until

MIB = 1024**2
WORKER_MACHINE = ("redis", "tasks", "worker-fetch", "worker-render", "beat")
# As large as the largest clips that were ever made here: 20 s of 1080p with grain.
CLIP_BYTES = 192 * MIB
ROUNDS = 5
RATE = "2gbit"
_UNITS = {"B": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}
_NGINX = """daemon off; pid /tmp/nginx.pid; error_log stderr; events {}
http { access_log off; sendfile on; default_type video/mp4; server { listen 8080; root /data; } }
"""


def memory_bytes(engine: Engine) -> dict[str, int]:
    """Return what each of the worker machine's containers uses, without reclaimable cache."""
    used_bytes = {}
    for line in engine.docker("stats", "--no-stream", "--format", "{{json .}}").splitlines():
        stats = json.loads(line)
        service = re.sub(r"^.*?_|[_-]\d+$", "", stats["Name"])
        number, unit = re.match(r"([\d.]+)(\w+)", stats["MemUsage"]).groups()  # type: ignore[union-attr] # always so
        used_bytes[service] = int(float(number) * _UNITS[unit])
    return {service: used_bytes[service] for service in WORKER_MACHINE}


class Memory:
    """Samples of the memory of the worker machine's containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.samples: list[dict[str, int]] = []

    def sample(self) -> None:
        self.samples.append(memory_bytes(self._engine))

    def report(self) -> None:
        peaks: dict[str, int] = defaultdict(int)
        for sample in self.samples:
            for service, used in sample.items():
                peaks[service] = max(peaks[service], used)
        for service, used in peaks.items():
            write_line(f"{service}: at most {used / MIB:.0f} MiB")
        write_line(
            "all at the same time:"
            f" at most {max(sum(s.values()) for s in self.samples) / MIB:.0f} MiB"
        )
        write_line(f"in {len(self.samples)} samples")


def write_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 # this is what it is for


def make_video(path: Path, seconds: int) -> None:
    """Make 1080p with grain, which is hard to encode."""
    picture = f"testsrc2=size=1920x1080:rate=30:duration={seconds},noise=alls=12:allf=t"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", picture]
    command += [
        "-f",
        "lavfi",
        "-i",
        f"sine=duration={seconds}",
        "-pix_fmt",
        "yuv420p",
        "-preset",
        "ultrafast",
        str(path),
    ]
    subprocess.run(command, check=True)


def speed_mib_s(url: str, token: str, *options: str) -> float:
    """Return how fast one download was."""
    command = [
        "curl",
        "--silent",
        "--fail",
        "--output",
        "/dev/null",
        "--write-out",
        "%{speed_download}",
        *options,
    ]
    command += ["--header", f"Authorization: Bearer {token}", url]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / MIB


@dataclass
class Clip:
    """A big clip, and the same file on the disk of an nginx with nothing else to do."""

    engine: Engine
    stack: Stack
    token: str
    task_id: str

    def put(self, file: Path) -> None:
        """Make this the file of the clip."""
        path = f"/usr/remote_folder/{self.task_id}/0.1.mp4"
        with file.open("rb") as content:
            copy = ("docker", "exec", "-i", self.stack.container("tasks"), "tee", path)
            environment = self.engine.environment
            subprocess.run(
                copy, env=environment, stdin=content, stdout=subprocess.DEVNULL, check=True
            )

    def forget(self, rate: str | None) -> str:
        """Empty nginx's cache and its request counts; return the clip's address."""
        self.stack.execute("nginx", "rm", "-r", "-f", "/var/tmp/clips")  # noqa: S108 # in its container
        self.stack.compose("restart", "--timeout", "0", "nginx")
        container = self.stack.container("nginx")
        if rate:
            limit_rate(self.engine, container, rate)
        address = f"http://{address_of(self.engine, container)}:5050"
        wait_until(lambda: is_ready(address), 30)
        return f"{address}/tasks/{self.task_id}/parts/0"

    def round(self, own: str, rate: str | None) -> dict[str, float]:
        """Return the rate of each method of downloading it, in MiB/s."""
        rates = {"from nginx's own disk": speed_mib_s(own, self.token)}
        rates["first time, as players ask"] = speed_mib_s(
            self.forget(rate), self.token, "--range", "0-"
        )
        url = self.forget(rate)
        for time in ("first", "second", "third"):
            rates[f"{time} time"] = speed_mib_s(url, self.token)
        return rates


def measure_speed(
    engine: Engine, stack: Stack, person: RetryingApiClient, task_id: str, folder: Path
) -> None:
    """Compare the ways of one big file to the same client."""
    data = folder / "own"
    data.mkdir()
    (data / "clip.mp4").write_bytes(os.urandom(CLIP_BYTES))
    assert person.token
    clip = Clip(engine, stack, person.token, task_id)
    clip.put(data / "clip.mp4")
    config = folder / "nginx.conf"
    config.write_text(_NGINX)
    mounts = ("-v", f"{data}:/data:ro", "-v", f"{config}:/etc/own.conf:ro")
    options = ("--detach", "--rm", "--name=idrlown", *mounts)
    engine.docker("run", *options, "nginx:1.28-bookworm", "nginx", "-c", "/etc/own.conf")
    own = f"http://{address_of(engine, 'idrlown')}:8080/clip.mp4"
    try:
        compare(
            "with nothing but memory between them", [clip.round(own, None) for _ in range(ROUNDS)]
        )
        limit_rate(engine, "idrlown", RATE)
        compare(f"over a network of {RATE}", [clip.round(own, RATE) for _ in range(ROUNDS)])
    finally:
        engine.docker("rm", "--force", "idrlown")


def compare(how: str, rounds: list[dict[str, float]]) -> None:
    """Print the median rate of each method, and its share of nginx's own."""
    middle = {method: statistics.median(each[method] for each in rounds) for method in rounds[0]}
    own = next(iter(middle.values()))
    for method, rate in middle.items():
        write_line(f"{how}: {rate:.0f} MiB/s {method}: {rate / own:.0%}")


def address_of(engine: Engine, container: str) -> str:
    """Return the container's own address: no proxy of the engine is in the way."""
    pattern = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return engine.docker("inspect", "-f", pattern, container).strip()


def limit_rate(engine: Engine, container: str, rate: str) -> None:
    """Limit the container's sending rate to a machine's, for as long as the container lives."""
    pid = engine.docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    shape = (
        "tc",
        "qdisc",
        "add",
        "dev",
        "eth0",
        "root",
        "tbf",
        "rate",
        rate,
        "burst",
        "4mb",
        "latency",
        "50ms",
    )
    engine.run("nsenter", "--target", pid, "--net", *shape)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="idrl-measure-", dir="/var/tmp"))  # mkdtemp makes it ours
    folder.chmod(0o755)
    try:
        with engine_module.running(folder) as engine:
            stand_ins = images.provide_bases(engine, folder)
            images.build_own(engine)
            stack = Stack(engine, "idrlmeasure", CHECKOUT, folder / "env")
            allowed = {
                "FETCH_ALLOW_HOSTS": engine.gateway(),
                "PORT": "15060",
                "RENDER_CONCURRENCY": "2",
            }
            stack.write_env({**make_secrets(folder / "made.env"), **images.VARIABLES, **allowed})
            try:
                measure(engine, stack, folder)
            finally:
                stack.down()
                images.remove(engine, stand_ins)
    finally:
        shutil.rmtree(folder)


def measure(engine: Engine, stack: Stack, folder: Path) -> None:
    stack.up()
    wait_until(lambda: is_ready("http://127.0.0.1:15060"), 30)
    served = folder / "site"
    served.mkdir()
    only_speed = sys.argv[1:] == ["speed"]
    make_video(served / "video.mp4", 2 if only_speed else 40)
    person = RetryingApiClient.signed_up("http://127.0.0.1:15060")
    memory = Memory(engine)
    with (
        site.serve(engine.gateway(), folder=served) as running,
        repeating(memory.sample, every_s=0),
    ):
        task_id = person.submit(f"{running.url}/video.mp4")["task_id"]
        task = person.finish(task_id, 900)
    if not only_speed:
        write_line(
            f"two parts of 1080p: {task['status']},"
            f" {[part['size_bytes'] for part in task['parts']]} bytes"
        )
        memory.report()
    measure_speed(engine, stack, person, task_id, folder)


if __name__ == "__main__":
    main()
