"""Load from wrk (Debian's package), as a sample: requests a second, latency percentiles."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("wrk.lua")


class CallsFailed(Exception):
    """Some responses were errors, so the figures are not those of the call."""


@dataclass(frozen=True)
class Call:
    """One kind of call; `paths` alternate, and `%d` in the body is the request's number."""

    paths: Sequence[str]
    method: str = "GET"
    body: str | None = None
    if_none_match: str | None = None


def load(port: int, call: Call, token: str, *, seconds: int, connections: int) -> dict[str, float]:
    """Send calls for some seconds, one after the other on each connection.

    Raise CallsFailed, or SystemExit with a sentence where wrk is not installed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("this benchmark needs wrk: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w") as paths:
        paths.write("\n".join(call.paths))
        paths.flush()
        variables = {"WRK_METHOD": call.method, "WRK_PATHS": paths.name}
        if call.body is not None:
            variables["WRK_BODY"] = call.body
        command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_SCRIPT)]
        if call.if_none_match is not None:
            command += ["-H", f"If-None-Match: {call.if_none_match}"]
        command += ["-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:{port}"]
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, check=True
        )
    summary: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if summary["failed"]:
        raise CallsFailed(f"{summary['failed']} of {summary['requests']} calls of {call} failed")
    return {"per_s": summary["requests"] / summary["seconds"], **summary}
