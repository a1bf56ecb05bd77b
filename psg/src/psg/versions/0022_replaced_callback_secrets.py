"""Keeps a replaced callback secret, which still signs for a while, and the order of events."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two empty columns and change the default of `run_after`: no row is rewritten."""
    op.execute(
        "ALTER TABLE callback_secrets ADD COLUMN IF NOT EXISTS previous_secret bytea,"
        " ADD COLUMN IF NOT EXISTS previous_until timestamptz"
    )
    _order_by("clock_timestamp()")


def downgrade() -> None:
    """Drop the replaced secrets: receivers that still use one will refuse every request."""
    _order_by("now()")
    for column in ("previous_secret", "previous_until"):
        op.drop_column("callback_secrets", column)


def _order_by(time: str) -> None:
    op.execute(f"ALTER TABLE webhook_deliveries ALTER COLUMN run_after SET DEFAULT {time}")
