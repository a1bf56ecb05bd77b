"""How many damaged source frames of a part were replaced (error concealment)."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("parts", sa.Column("concealed_frames", sa.Integer))


def downgrade() -> None:
    op.drop_column("parts", "concealed_frames")
