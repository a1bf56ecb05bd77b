"""An index of usage by day: for the newest days of all accounts, and to delete the oldest ones.

It is built CONCURRENTLY, so that no write waits.
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_NAME = "usage_days_day"


def upgrade() -> None:
    """Build the index. Safe to repeat after it was interrupted."""
    with op.get_context().autocommit_block():
        # An interrupted CREATE INDEX CONCURRENTLY leaves an invalid index of this name.
        _drop()
        op.create_index(_NAME, "usage_days", ["day"], postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        _drop()


def _drop() -> None:
    op.drop_index(_NAME, postgresql_concurrently=True, if_exists=True)
