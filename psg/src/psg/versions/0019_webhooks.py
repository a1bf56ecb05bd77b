"""Webhooks: where an account is told of its tasks, and the outbox of what is to be sent.

A trigger writes the outbox in the transaction that records a task's event, so that no process,
not even one of the release before, can change a status without telling it.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_FUNCTION = """
CREATE FUNCTION enqueue_webhook_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added WHERE kind IN ('planned', 'task_done', 'task_failed',
                                                'task_canceled', 'part_done')) THEN
        INSERT INTO webhook_deliveries (webhook_id, event, task_id, part, event_at)
        SELECT webhooks.id, named.event, added.task_id, added.part, added.at
        FROM added
        JOIN (VALUES ('planned', 'task.planned'), ('task_done', 'task.done'),
                     ('task_failed', 'task.failed'), ('task_canceled', 'task.canceled'),
                     ('part_done', 'part.done')) AS named (kind, event) USING (kind)
        JOIN tasks ON tasks.id = added.task_id
        JOIN webhooks ON webhooks.owner_id = tasks.owner_id
            AND webhooks.disabled_at IS NULL AND named.event = ANY (webhooks.events)
        ORDER BY added.id;
    END IF;
    RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE TRIGGER task_events_webhooks AFTER INSERT ON task_events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION enqueue_webhook_deliveries()
"""


def upgrade() -> None:
    """Add both tables, and the trigger that fills the outbox."""
    _create_webhooks()
    _create_deliveries()
    for name in ("webhooks", "webhook_deliveries"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO worker")
    op.execute(_FUNCTION)
    op.execute(_TRIGGER)


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        _time("created_at"),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("busy_until", sa.DateTime(timezone=True)),
    )
    op.create_index("webhooks_owner", "webhooks", ["owner_id", "created_at"])


def _create_deliveries() -> None:
    gen_id = sa.text("gen_random_uuid()")
    to_webhook = sa.ForeignKey("webhooks.id", ondelete="CASCADE")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=gen_id),
        sa.Column("webhook_id", sa.Uuid, to_webhook, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("task_id", sa.Uuid),
        sa.Column("part", sa.Integer),
        _time("event_at"),
        sa.Column("status", sa.Text, server_default="waiting", nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("attempt", sa.Integer, server_default="0", nullable=False),
        _time("run_after"),
        sa.Column("attempted_at", sa.DateTime(timezone=True)),
        sa.Column("http_status", sa.Integer),
        sa.Column("error_code", sa.Text),
        sa.CheckConstraint("status IN ('waiting', 'delivered', 'failed')", "delivery_status"),
    )
    op.create_index("webhook_deliveries_webhook", "webhook_deliveries", ["webhook_id", "event_at"])
    is_waiting = sa.text("status = 'waiting'")
    op.create_index(
        "webhook_deliveries_due", "webhook_deliveries", ["run_after"], postgresql_where=is_waiting
    )


def _time(name: str) -> "sa.Column[datetime]":
    now = sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=False)


def downgrade() -> None:
    """Remove them: webhooks and what they have not yet been told are lost."""
    op.execute("DROP TRIGGER task_events_webhooks ON task_events")
    op.execute("DROP FUNCTION enqueue_webhook_deliveries()")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
