"""Cursors: what callers may send back, also those who compute the checksum, which is no secret."""

import hashlib
import struct
import uuid
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import pytest

from idrl_common import cursors
from idrl_common.cursors import CursorInvalid, Position

ROW = uuid.UUID("0b5e3f6c-5f0e-4b4f-9a53-0a2d3c4e5f60")
LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
LAST_US = 253_402_300_799_999_999


def text_of(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(packed: bytes, owner_id: int = 7, query: str = "tasks") -> str:
    key = f"{owner_id} {query}".encode()
    return text_of(packed + hashlib.blake2b(packed + key, digest_size=8).digest())


def packed(created_us: int) -> bytes:
    return struct.pack(">q", created_us) + ROW.bytes


@pytest.mark.parametrize(
    "moment", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 2, 3, 4, 5, 6, 7, UTC), LAST_MOMENT]
)
def test_cursor_leads_back_to_its_position(moment: datetime) -> None:
    cursor = cursors.encode(Position.at(moment, ROW), 7, "tasks")
    position = cursors.decode(cursor, 7, "tasks")
    assert (position.created_at, position.row_id) == (moment, ROW)
    assert cursor == forged(packed(position.created_us))
    for owner_id, query in ((8, "tasks"), (7, "keys"), (7, "")):
        with pytest.raises(CursorInvalid):
            cursors.decode(cursor, owner_id, query)


@pytest.mark.parametrize("created_us", [-1, LAST_US + 1, 2**63 - 1, -(2**63)])
def test_forged_time_that_no_row_has_is_refused(created_us: int) -> None:
    """datetime cannot hold most of them, so the list would be a 500."""
    with pytest.raises(CursorInvalid):
        cursors.decode(forged(packed(created_us)), 7, "tasks")


@pytest.mark.parametrize("cursor", ["x", "\u00e9" * 43, "A" * 43, "=" * 43])
def test_text_that_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        cursors.decode(cursor, 7, "tasks")


@pytest.mark.parametrize("size", [0, 1, 8, 23, 25, 40])
def test_forged_cursor_of_another_length_is_refused(size: int) -> None:
    raw = (packed(1) * 2)[:size]
    for cursor in (forged(raw), text_of(raw), text_of(raw + bytes(8))):
        with pytest.raises(CursorInvalid):
            cursors.decode(cursor, 7, "tasks")
