"""The file of `--segments`: JSON as the API takes it, or lines `start_s,end_s,name`."""

import csv
import json
import math
from pathlib import Path
from typing import NoReturn

from idrl_client.errors import LocalFault
from idrl_client.models import NewSegment


def read(path: Path) -> list[NewSegment]:
    """Return the time ranges in a file; raise LocalFault with the line that is wrong."""
    try:
        text = path.read_text("utf-8-sig")  # spreadsheets write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise LocalFault(f"{path} cannot be read: {error}") from error
    segments = _from_json(path, text) if text.lstrip().startswith("[") else _from_csv(path, text)
    if not segments:
        raise LocalFault(f"{path} has no segment: one a line, `start_s,end_s,name`")
    return segments


def _from_json(path: Path, text: str) -> list[NewSegment]:
    try:
        segments: list[NewSegment] = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise LocalFault(f"{path} is not valid JSON: {error}") from error
    return segments  # the server validates the fields and names each wrong one


def _from_csv(path: Path, text: str) -> list[NewSegment]:
    segments = []
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row or row[0].lstrip().startswith("#"):
            continue
        try:
            segment: NewSegment = {"start_s": _finite(row[0]), "end_s": _finite(row[1])}
        except (ValueError, IndexError) as error:
            raise LocalFault(f"{path}, line {number}: not `start_s,end_s,name`") from error
        if name := ",".join(row[2:]).strip():
            segment["name"] = name
        segments.append(segment)
    return segments


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError(f"{constant} is not a JSON number")
