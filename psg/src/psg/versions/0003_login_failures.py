"""Wrong log-ins, counted by account and caller."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "login_failures",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("client", sa.String(43), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column(
            "first_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )
    op.create_index("login_failures_first_at", "login_failures", ["first_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON login_failures TO web")


def downgrade() -> None:
    op.drop_table("login_failures")
