"""Fragmented MP4 (ISO/IEC 14496-12, 8.8) that ends within the header of a fragment.

A recorder that crashed leaves such a file. libavformat rejects it for the incomplete header, where
players show what comes before.
"""

import io
from pathlib import Path

_FRAGMENT = b"moof"


def whole_bytes(path: Path) -> int | None:
    """Return where the last fragment's header (`moof`) begins if the file ends within it."""
    size_bytes, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 8 <= size_bytes:
            file.seek(at)
            header = file.read(16)
            length = int.from_bytes(header[:4])
            if length == 1:
                length = int.from_bytes(header[8:16])
            if length < 8:
                return None
            if at + length > size_bytes:
                return at if header[4:8] == _FRAGMENT else None
            at += length
    return None


class FileStart(io.RawIOBase):
    """A file object of the first `size_bytes` of a file."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._file = path.open("rb")
        self._size_bytes = size_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset, whence = self._size_bytes + offset, io.SEEK_SET
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override] # narrower
        """Read into the buffer, up to `size_bytes` of the file; return the count, 0 at the end."""
        data = self._file.read(max(0, min(len(buffer), self._size_bytes - self.tell())))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
