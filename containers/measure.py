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
    data = folder / "data"
    data.mkdir()
    with (data / "clip.mp4").open("wb") as file:
        file.truncate(CLIP_BYTES)
    config = folder / "nginx.conf"
    config.write_text(_NGINX)
    mounts = ("-v", f"{data}:/data:ro", "-v", f"{config}:/etc/own.conf:ro")
    ports = ("-p", "127.0.0.1:15070:8080")
    options = ("--detach", "--rm", "--name=idrlown", *mounts, *ports)
    engine.docker("run", *options, "nginx:1.28-bookworm", "nginx", "-c", "/etc/own.conf")
    try:
        token = person.token
        own = speed_bytes_s("http://127.0.0.1:15070/clip.mp4", token)
        through = speed_bytes_s(f"{person.base_url}/tasks/{task_id}/parts/0", token)
    finally:
        engine.docker("rm", "--force", "idrlown")
    say(f"from nginx's own disk: {own / MIB:.0f} MiB/s; from the tasks service: {through / MIB:.0f} MiB/s")
    say(f"that is {through / own:.0%}")


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="idrl-measure-", dir="/var/tmp"))  # mkdtemp makes it ours
    folder.chmod(0o755)
    try:
        with engine_module.running(folder) as engine:
            images.provide_bases(engine, folder)
            images.build_own(engine)
            stack = Stack(engine, "idrlmeasure", CHECKOUT, folder / "env")
            allowed = {"FETCH_ALLOW_HOSTS": engine.gateway(), "PORT": "15060", "RENDER_CONCURRENCY": "2"}
            stack.write_env({**make_secrets(folder / "made.env"), **allowed})
            try:
                measure(engine, stack, folder)
            finally:
                stack.down()
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
