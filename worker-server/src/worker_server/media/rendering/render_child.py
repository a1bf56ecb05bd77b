"""The command line between a renderer and the child module that makes its clip: one JSON object."""

import json
import sys
from pathlib import Path

from worker_server.media.model.edit import PartEdit


def child_command(module: str, edit: PartEdit, output: Path, ffmpeg_path: Path) -> list[str]:
    """Return the command that runs the module; it reads its argument by `parse_argument`."""
    payload = {
        "edit": edit.to_json(),
        "output": str(output.absolute()),
        "ffmpeg": str(ffmpeg_path),
    }
    return [sys.executable, "-I", "-m", module, json.dumps(payload)]


def parse_argument(argument: str) -> tuple[PartEdit, Path, str]:
    """Return the edit, the clip's path and ffmpeg's path of a `child_command`."""
    payload = json.loads(argument)
    return PartEdit.from_json(payload["edit"]), Path(payload["output"]), payload["ffmpeg"]
