"""Names of files that people read, for every file system: Windows allows the fewest characters."""

import re
from collections.abc import Sequence

from worker_server.api.queries import PartFacts

# Control characters, what ends a line or changes the direction of writing (Unicode's Bidi_Control),
# and what Windows refuses.
_FORBIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r'<>:"/\\|?*]+'
)
# Of a file's name, such as `.mp4`; digits alone are a date, or the number of an episode.
_ENDING = re.compile(r"\.(?![0-9]+$)[A-Za-z0-9]{1,5}$")
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
# Windows ignores spaces before the first dot, and everything after it.
_DEVICES = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[\d¹²³]) *(\.|$)", re.IGNORECASE)
_MAX_BYTES = 120
_MAX_FILE_BYTES = 255  # the limit of ext4 and APFS


def stem_of(name: str) -> str:
    """Return a name without its ending, and without what a file system would refuse."""
    return _safe(_ENDING.sub("", name)) or "video"


def clip_name(stem: str, number: int, name: str | None, parts_total: int) -> str:
    """Return `STEM 01 NAME.mp4` for a part that is downloaded alone; `number` counts from 0."""
    padded = _padded_number(number, parts_total)
    return " ".join(filter(None, (stem, padded, _safe(name or "")))) + ".mp4"


def clip_names(stem: str, parts: Sequence[PartFacts], parts_total: int) -> list[str]:
    """Return `STEM 01 00m00s-00m20s NAME.mp4` for each of these parts, of `parts_total` in all."""
    return [_clip_name(stem, part, parts_total) for part in parts]


def _padded_number(number: int, parts_total: int) -> str:
    """Return the number from 1, zero-padded so that the names of all parts sort."""
    return f"{number + 1:0{max(2, len(str(parts_total)))}}"


def _clip_name(stem: str, part: PartFacts, parts_total: int) -> str:
    start = f"{stem} {_padded_number(part['number'], parts_total)} {_span(part)}"
    left = _MAX_FILE_BYTES - len(f"{start} .mp4".encode())
    return " ".join(filter(None, (start, _safe(part["name"] or "", left)))) + ".mp4"


def _span(part: PartFacts) -> str:
    return f"{_clock(part['start_s'])}-{_clock(part['end_s'])}"


def _clock(seconds: float) -> str:
    """Return seconds as `02m00.5s`, with `01h` before where there are hours."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    whole = f"{rest // 100:02}"
    fraction = f".{rest % 100:02}".rstrip("0").rstrip(".")
    return (f"{hours:02}h" if hours else "") + f"{minutes:02}m{whole}{fraction}s"


def _safe(name: str, max_bytes: int = _MAX_BYTES) -> str:
    allowed = min(max_bytes, _MAX_BYTES)
    cleaned = _FORBIDDEN.sub("_", name).encode()[:allowed].decode(errors="ignore").strip(" .")
    return f"_{cleaned}" if _DEVICES.match(cleaned) else cleaned
