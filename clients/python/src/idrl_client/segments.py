"""The file of `--segments`: JSON as the API takes it, or lines `start_s,end_s,name`."""

import csv
import io
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
        segments: list[NewSegment] = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise LocalFault(f"{path} is not valid JSON: {error}") from error
    return segments  # the server validates the fields and names each wrong one


def _from_csv(path: Path, text: str) -> list[NewSegment]:
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        return [_segment(row) for row in rows if _is_segment(row, rows.line_num)]
    except (ValueError, IndexError, csv.Error) as error:
        raise LocalFault(f"{path}, line {rows.line_num}: not `start_s,end_s,name`") from error


def _is_segment(row: list[str], line: int) -> bool:
    """Return whether the row is neither empty, nor a comment, nor the names of the columns."""
    first = row[0].strip() if row else "#"
    return not first.startswith("#") and (line, first) != (1, "start_s")


def _segment(row: list[str]) -> NewSegment:
    segment: NewSegment = {"start_s": _finite(row[0]), "end_s": _finite(row[1])}
    if name := ",".join(row[2:]).strip():
        segment["name"] = name
    return segment


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError(f"{constant} is not a JSON number")
