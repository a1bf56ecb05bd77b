"""Files that accounts send: uploads and brands."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Index, Text, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from worker_server.models.base import Base


class Upload(Base):
    """A file that a caller sends by tus, below `uploads/` on the share until a task needs it.

    `offset_bytes` have been fsynced and confirmed; the file may be longer. `tus_metadata` is the
    header Upload-Metadata as sent. `deleted_at`: given up, by its owner or after an error.
    `removed_at`: the file is gone.
    """

    __tablename__ = "uploads"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str | None]
    tus_metadata: Mapped[str | None] = mapped_column("metadata")
    length_bytes: Mapped[int] = mapped_column(BigInteger)
    offset_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    # No foreign key: a deleted task must not make its upload unused again.
    task_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]

    @property
    def is_finished(self) -> bool:
        """Whether all bytes are there."""
        return self.offset_bytes == self.length_bytes

    __table_args__ = (
        Index("uploads_owner_created", "owner_id", "created_at"),
        Index("uploads_with_file", "expires_at", postgresql_where=text("removed_at IS NULL")),
        Index(
            "uploads_owner_with_file",
            "owner_id",
            "created_at",
            postgresql_where=text("removed_at IS NULL"),
        ),
    )


class Brand(Base):
    """What stands before, after and over an account's clips; never changed once it is made.

    `files` are names below `brands/<owner>` on the share; `spec` says what each of them is for. A
    deleted brand's row and files stay while a task needs them.
    """

    __tablename__ = "brands"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    files: Mapped[list[str]] = mapped_column(ARRAY(Text))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index("brands_owner_created", "owner_id", "created_at"),
        Index("brands_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )


class BrandDefault(Base):
    """The brand of an account's tasks that name none; without a row it is the built-in one."""

    __tablename__ = "brand_defaults"

    owner_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    brand_id: Mapped[str]
