"""Roles, revocation of tokens, API keys, invitations, and addresses that have logged in."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_RIGHTS = "SELECT, INSERT, UPDATE, DELETE"


def upgrade() -> None:
    op.add_column("users", sa.Column("role", sa.Text, nullable=False, server_default="user"))
    op.create_check_constraint("users_role_check", "users", "role IN ('user', 'operator')")
    op.add_column("users", _time("disabled_at"))
    op.add_column("users", _time("tokens_valid_after"))
    op.add_column("users", sa.Column("quotas", postgresql.JSONB))
    op.add_column("login_failures", _time("succeeded_at"))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
        sa.Column(
            "user_id",
            sa.BigInteger,
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False, unique=True),
        _time("created_at", now=True),
        _time("expires_at"),
    )
    op.create_index("api_keys_user_id", "api_keys", ["user_id"])
    op.create_table(
        "invitations",
        sa.Column("code_sha256", sa.String(64), primary_key=True),
        _time("created_at", now=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute("GRANT DELETE ON users TO web")
    op.execute(f"GRANT {_RIGHTS} ON api_keys, invitations TO web")


def downgrade() -> None:
    op.drop_table("invitations")
    op.drop_table("api_keys")
    op.execute("REVOKE DELETE ON users FROM web")
    op.drop_column("login_failures", "succeeded_at")
    for column in ("quotas", "tokens_valid_after", "disabled_at", "role"):
        op.drop_column("users", column)


def _time(name: str, *, now: bool = False) -> "sa.Column[Any]":
    default = sa.func.now() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not now, server_default=default)
