"""The CRC-32 of each clip, which a ZIP names before its bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("parts", sa.Column("crc32", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("parts", "crc32")
