"""Remuxes MP4 with the right times of its pictures. Run by the command of `remux_command`."""

import json
import os
import sys
from pathlib import Path

import av.logging

from worker_server.media.model.containers import composition_shifts, open_source


def times_of_pictures(path: Path, video_index: int) -> list[str]:
    """Return ffmpeg's options that subtract the composition shift, where there is one."""
    with open_source(path, "mov") as container:
        tick_s = container.streams[video_index].time_base or 0
        shift = composition_shifts(container)[video_index]
    if not shift.ticks:
        return []
    # In seconds, as the ticks of the filter are not those of the file.
    excess = f"gte(POS\\,{shift.begin})*{float(shift.ticks * tick_s):.9f}/TB"
    return ["-bsf:v", "setts=" + ":".join(f"{of}={of.upper()}-{excess}" for of in ("pts", "dts"))]


def main() -> None:
    av.logging.set_level(None)
    payload = json.loads(sys.argv[1])
    corrected = times_of_pictures(Path(payload["path"]), payload["video_index"])
    command = [*payload["read"], *corrected, *payload["write"]]
    os.execvp(command[0], command)  # noqa: S606 # no shell is wanted


if __name__ == "__main__":
    main()
