"""Files of brands on the share, `brands/<owner>/<SHA-256>.<kind>`: written whole, never changed."""

import hashlib
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path

from worker_server import storage


def brand_file(remote: Path, owner_id: int, name: str) -> Path:
    """Return where a file of the owner's brands is."""
    return remote / "brands" / str(owner_id) / name


def name_of(path: Path) -> str:
    """Return the name on the share of a file with this content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() + path.suffix


def publish_files(remote: Path, owner_id: int, files: Mapping[str, Path]) -> None:
    """Put on the share the files it lacks, each atomically and durably; raise OSError.

    A file server that lost power may have left an empty one.
    """
    storage.require_mounted(remote)
    folder = brand_file(remote, owner_id, "")
    folder.mkdir(parents=True, exist_ok=True)
    storage.sync_folder(folder.parent)
    for name, local in files.items():
        if not _is_whole(folder / name, local):
            unique = folder / f"{uuid.uuid4()}"
            storage.publish(local, unique)
            unique.rename(folder / name)
    storage.sync_folder(folder)


def _is_whole(stored: Path, local: Path) -> bool:
    try:
        return stored.stat().st_size == local.stat().st_size
    except FileNotFoundError:
        return False


def owners_with_files(remote: Path) -> list[int]:
    """Return the accounts that have a folder of brands."""
    try:
        names = [each.name for each in (remote / "brands").iterdir()]
    except FileNotFoundError:
        return []
    return [int(name) for name in names if name.isascii() and name.isdigit()]


def remove_files(remote: Path, owner_id: int, names: Collection[str]) -> None:
    """Remove the files, and the folder once it is empty.

    Raise OSError while the share is unavailable, and for a file that cannot be removed, once others
    are gone.
    """
    storage.require_mounted(remote)
    folder = brand_file(remote, owner_id, "")
    errors = []
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    if not any(folder.iterdir()):
        folder.rmdir()
