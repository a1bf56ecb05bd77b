"""Reads the `.env.example` of an app."""

from pathlib import Path


def variables_in(example: Path) -> set[str]:
    """Return the names that an `.env.example` sets, commented-out ones included."""
    lines = (line.removeprefix("#").strip() for line in example.read_text().splitlines())
    names = (line.partition("=")[0] for line in lines if "=" in line)
    return {name for name in names if name.isupper() and " " not in name}
