"""How each part was made: copied or encoded."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("parts", sa.Column("rendered_by", sa.Text))
    op.create_check_constraint(
        "parts_rendered_by_check", "parts", "rendered_by IN ('copy', 'encode')"
    )


def downgrade() -> None:
    op.drop_column("parts", "rendered_by")
