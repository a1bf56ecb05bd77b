"""Brands: what stands before, after and over the clips of an account's tasks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the brands and the choice of each account."""
    op.create_table(
        "brands",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("files", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
    )
    op.create_index("brands_owner_created", "brands", ["owner_id", "created_at"])
    is_deleted = sa.text("deleted_at IS NOT NULL")
    op.create_index("brands_deleted", "brands", ["deleted_at"], postgresql_where=is_deleted)
    op.create_table(
        "brand_defaults",
        sa.Column("owner_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("brand_id", sa.Text, nullable=False),
    )
    for name in ("brands", "brand_defaults"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO worker")


def downgrade() -> None:
    """Remove both; the previous release renders all tasks with the built-in brand."""
    op.drop_table("brand_defaults")
    op.drop_table("brands")
