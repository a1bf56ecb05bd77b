"""Measures what docs/operations.md says, as root: `PYTHONPATH=containers .venv/bin/python containers/measure.py`.

Memory: the containers of a worker machine while two 1080p parts are rendered. Speed: one clip as nginx gets it from the
tasks service, and the same file as nginx reads it from its own disk.
"""

import json
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import imageio_ffmpeg
from harness import engine as engine_module, images
from harness.caller import Caller, answers, site, wait_until
from harness.engine import Engine
from harness.machines import make_secrets
from harness.stack import CHECKOUT, Stack

MIB = 1024**2
WORKER_MACHINE = ("redis", "tasks", "worker-fetch", "worker-render", "beat")
CLIP_BYTES = 512 * MIB
_UNITS = {"B": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}
_NGINX = """daemon off; pid /tmp/nginx.pid; error_log stderr; events {}
http { access_log off; sendfile on; default_type video/mp4; server { listen 8080; root /data; } }
"""


def memory_bytes(engine: Engine) -> dict[str, int]:
    """Return what each container of the worker machine uses now, page cache that can go left out."""
    found = {}
    for line in engine.docker("stats", "--no-stream", "--format", "{{json .}}").splitlines():
        stats = json.loads(line)
        service = re.sub(r"^.*?_|[_-]\d+$", "", stats["Name"])
        number, unit = re.match(r"([\d.]+)(\w+)", stats["MemUsage"]).groups()  # type: ignore[union-attr] # always so
        found[service] = int(float(number) * _UNITS[unit])
    return {service: found[service] for service in WORKER_MACHINE}


class Watch:
    """Looks at the memory again and again, in a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples: list[dict[str, int]] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            self.samples.append(memory_bytes(self._engine))

    def report(self) -> None:
        peaks: dict[str, int] = defaultdict(int)
        for sample in self.samples:
            for service, used in sample.items():
                peaks[service] = max(peaks[service], used)
        for service, used in peaks.items():
            say(f"{service}: at most {used / MIB:.0f} MiB")
        say(f"all at the same time: at most {max(sum(s.values()) for s in self.samples) / MIB:.0f} MiB")
        say(f"in {len(self.samples)} samples")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 # this is what it is for


def make_video(path: Path) -> None:
    """Make 40 s of 1080p with grain, which is hard to encode."""
    picture = "testsrc2=size=1920x1080:rate=30:duration=40,noise=alls=12:allf=t"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", picture]
    command += ["-f", "lavfi", "-i", "sine=duration=40", "-pix_fmt", "yuv420p", "-preset", "ultrafast", str(path)]
    subprocess.run(command, check=True)


def speed_bytes_s(url: str, token: str) -> float:
    """Return the middle one of five downloads."""
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "--write-out", "%{speed_download}"]
    command += ["--header", f"Authorization: Bearer {token}", url]
    return statistics.median(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)
    )


def measure_speed(engine: Engine, stack: Stack, person: Caller, task_id: str, folder: Path) -> None:
    """Compare the two ways of one big file to the same client."""
    path = f"/usr/remote_folder/{task_id}/0.1.mp4"
    stack.execute("tasks", "python", "-c", f"open({path!r}, 'r+b').truncate({CLIP_BYTES})")
    data = folder / "own"
    data.mkdir()
    with (data / "clip.mp4").open("wb") as file:
        file.truncate(CLIP_BYTES)
    config = folder / "nginx.conf"
    config.write_text(_NGINX)
    mounts = ("-v", f"{data}:/data:ro", "-v", f"{config}:/etc/own.conf:ro")
    options = ("--detach", "--rm", "--name=idrlown", *mounts)
    engine.docker("run", *options, "nginx:1.28-bookworm", "nginx", "-c", "/etc/own.conf")
    pair = ("idrlown", stack.container("nginx"))
    urls = [f"http://{address_of(engine, pair[0])}:8080/clip.mp4"]
    urls.append(f"http://{address_of(engine, pair[1])}:5050/tasks/{task_id}/parts/0")
    try:
        compare("with nothing but memory between them", urls, person.token)
        for container in pair:
            limit_rate(engine, container, "2gbit")
        compare("over a network of 2 Gbit/s", urls, person.token)
    finally:
        engine.docker("rm", "--force", "idrlown")


def compare(how: str, urls: list[str], token: str) -> None:
    own, through = (speed_bytes_s(url, token) / MIB for url in urls)
    say(
        f"{how}: {own:.0f} MiB/s from nginx's own disk, {through:.0f} MiB/s from the tasks service: {through / own:.0%}"
    )


def address_of(engine: Engine, container: str) -> str:
    """Return the container's own address: no proxy of the engine is in the way."""
    pattern = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return engine.docker("inspect", "-f", pattern, container).strip()


def limit_rate(engine: Engine, container: str, rate: str) -> None:
    """Let the container send no faster than a machine's network would; lasts as long as the container."""
    pid = engine.docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    shape = ("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "4mb", "latency", "50ms")
    engine.run("nsenter", "--target", pid, "--net", *shape)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="idrl-measure-", dir="/var/tmp"))  # mkdtemp makes it ours
    folder.chmod(0o755)
    try:
        with engine_module.running(folder) as engine:
            stand_ins = images.provide_bases(engine, folder)
            images.build_own(engine)
            stack = Stack(engine, "idrlmeasure", CHECKOUT, folder / "env")
            allowed = {"FETCH_ALLOW_HOSTS": engine.gateway(), "PORT": "15060", "RENDER_CONCURRENCY": "2"}
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
    wait_until(lambda: answers("http://127.0.0.1:15060"), 30)
    served = folder / "site"
    served.mkdir()
    make_video(served / "video.mp4")
    person = Caller("http://127.0.0.1:15060")
    with site(engine.gateway(), served) as url, Watch(engine) as watch:
        task_id = person.post_task(f"{url}/video.mp4")
        task = person.wait_for_end(task_id, 900)
    say(f"two parts of 1080p: {task['status']}, {[part['size_bytes'] for part in task['parts']]} bytes")
    watch.report()
    measure_speed(engine, stack, person, task_id, folder)


if __name__ == "__main__":
    main()
