"""Cursors: where a page of a list ends, as an opaque text for the next request.

A cursor holds the position of the page's last row, not a count of rows: rows that come and go
before the position do not shift the pages after it. It belongs to one owner and one query. The
checksum is no secret: a forged cursor shows its owner nothing but the owner's own rows.
"""

import binascii
import hashlib
import struct
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")
_CHECKSUM_BYTES = 8
_LATEST_US = 253_402_300_799_999_999  # the end of the year 9999

Row = TypeVar("Row", bound=tuple[Any, ...])
TimeColumn = InstrumentedAttribute[datetime]
IdColumn = InstrumentedAttribute[uuid.UUID]


class CursorInvalid(Exception):
    """The text is not a cursor, or its checksum is that of another owner or another query."""

    def __init__(self) -> None:
        super().__init__("The cursor is not from this list; start again without a cursor.")


@dataclass(frozen=True)
class Position:
    """A row in order of creation: microseconds since 1970, then the id."""

    created_us: int
    row_id: uuid.UUID

    @classmethod
    def at(cls, created_at: datetime, row_id: uuid.UUID) -> "Position":
        """Return the position of a row of this time."""
        return cls((created_at - _EPOCH) // timedelta(microseconds=1), row_id)

    @property
    def created_at(self) -> datetime:
        """The same time, exact to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.created_us)


def newest_first(
    rows: Select[Row], columns: tuple[TimeColumn, IdColumn], limit: int, after: Position | None
) -> Select[Row]:
    """Return at most `limit` rows after the position, in descending order of the two columns."""
    if after is not None:
        rows = rows.where(tuple_(*columns) < (after.created_at, after.row_id))
    return rows.order_by(*(column.desc() for column in columns)).limit(limit)


def encode(position: Position, owner_id: int, query: str) -> str:
    """Return the cursor of a page of the owner's list that ends at the position."""
    packed = _POSITION.pack(position.created_us, position.row_id.bytes)
    text = urlsafe_b64encode(packed + _checksum(packed, owner_id, query))
    return text.rstrip(b"=").decode()


def decode(cursor: str, owner_id: int, query: str) -> Position:
    """Return the position; raise CursorInvalid unless `encode` made it of the same arguments."""
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except (UnicodeEncodeError, binascii.Error) as error:
        raise CursorInvalid from error
    packed, checksum = raw[: _POSITION.size], raw[_POSITION.size :]
    if len(packed) < _POSITION.size or checksum != _checksum(packed, owner_id, query):
        raise CursorInvalid
    created_us, row_id = _POSITION.unpack(packed)
    if not 0 <= created_us <= _LATEST_US:
        raise CursorInvalid
    return Position(created_us, uuid.UUID(bytes=row_id))


def _checksum(packed: bytes, owner_id: int, query: str) -> bytes:
    key = f"{owner_id} {query}".encode()
    return hashlib.blake2b(packed + key, digest_size=_CHECKSUM_BYTES).digest()
