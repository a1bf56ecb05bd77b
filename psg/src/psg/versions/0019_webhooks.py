"""Webhooks and callbacks: URLs that get events of tasks, and the outbox.

A trigger writes the outbox in the transaction that records a task's event, so that no process,
not even one of the previous release, can change a status without an event in the outbox.
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
        SELECT receivers.id, named.event, added.task_id, added.part, added.at
        FROM added
        JOIN (VALUES ('planned', 'task.planned'), ('task_done', 'task.done'),
                     ('task_failed', 'task.failed'), ('task_canceled', 'task.canceled'),
                     ('part_done', 'part.done')) AS named (kind, event) USING (kind)
        JOIN tasks ON tasks.id = added.task_id
        CROSS JOIN LATERAL (
            SELECT id, events FROM webhooks WHERE disabled_at IS NULL
                AND owner_id = tasks.owner_id AND task_id IS NULL AND batch_id IS NULL
            UNION ALL
            SELECT id, events FROM webhooks WHERE disabled_at IS NULL AND task_id = tasks.id
        ) AS receivers
        WHERE named.event = ANY (receivers.events)
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

# Run by a deferred trigger at commit, when the transaction locks no further rows. The advisory lock
# serializes transactions that end tasks of one batch, so that the last one sees all the others.
_BATCH_FUNCTION = """
CREATE FUNCTION enqueue_batch_done() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    batch batches;
BEGIN
    SELECT batches.* INTO batch FROM batches JOIN tasks ON tasks.batch_id = batches.id
        WHERE tasks.id = NEW.task_id;
    IF batch.id IS NULL OR NOT EXISTS (SELECT FROM receivers_of_batch(batch)) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('batch.done ' || batch.id, 0));
    IF NOT EXISTS (SELECT FROM tasks WHERE tasks.batch_id = batch.id
                   AND status NOT IN ('done', 'failed', 'canceled')) THEN
        INSERT INTO webhook_deliveries (webhook_id, event, batch_id)
        SELECT receivers.id, 'batch.done', batch.id FROM receivers_of_batch(batch) AS receivers
        WHERE NOT EXISTS (  -- for another task that this transaction has ended
            SELECT FROM webhook_deliveries AS added WHERE added.webhook_id = receivers.id
                AND added.event_at = now() AND added.batch_id = batch.id);
    END IF;
    RETURN NULL;
END $$
"""
_BATCH_RECEIVERS = """
CREATE FUNCTION receivers_of_batch(batch batches) RETURNS SETOF webhooks LANGUAGE sql STABLE AS $$
    SELECT * FROM webhooks WHERE disabled_at IS NULL AND owner_id = batch.owner_id
        AND task_id IS NULL AND batch_id IS NULL AND 'batch.done' = ANY (events)
    UNION ALL
    SELECT * FROM webhooks WHERE disabled_at IS NULL AND batch_id = batch.id
$$
"""
_BATCH_TRIGGER = """
CREATE CONSTRAINT TRIGGER task_events_batches AFTER INSERT ON task_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.kind IN ('task_done', 'task_failed', 'task_canceled'))
    EXECUTE FUNCTION enqueue_batch_done()
"""
_TABLES = ("webhooks", "webhook_deliveries", "callback_secrets")


def upgrade() -> None:
    """Add the tables, and the triggers that fill the outbox."""
    for table in ("tasks", "batches"):
        op.add_column(table, sa.Column("callback_url", sa.Text))
    _create_webhooks()
    _create_deliveries()
    op.create_table(
        "callback_secrets",
        sa.Column("owner_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        _time("created_at"),
    )
    for name in _TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO worker")
    for statement in (_FUNCTION, _TRIGGER, _BATCH_RECEIVERS, _BATCH_FUNCTION, _BATCH_TRIGGER):
        op.execute(statement)


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("secret", sa.LargeBinary),
        _time("created_at"),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("busy_until", sa.DateTime(timezone=True)),
        sa.Column("task_id", sa.Uuid, _cascade("tasks.id")),
        sa.Column("batch_id", sa.Uuid, _cascade("batches.id")),
    )
    of_account = sa.text("task_id IS NULL AND batch_id IS NULL")
    op.create_index(
        "webhooks_owner", "webhooks", ["owner_id", "created_at"], postgresql_where=of_account
    )
    for name in ("task", "batch"):
        is_callback = sa.text(f"{name}_id IS NOT NULL")
        op.create_index(
            f"webhooks_{name}", "webhooks", [f"{name}_id"], postgresql_where=is_callback
        )


def _create_deliveries() -> None:
    gen_id = sa.text("gen_random_uuid()")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=gen_id),
        sa.Column("webhook_id", sa.Uuid, _cascade("webhooks.id"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("task_id", sa.Uuid),
        sa.Column("batch_id", sa.Uuid),
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


def _cascade(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")


def _time(name: str) -> "sa.Column[datetime]":
    now = sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=False)


def downgrade() -> None:
    """Drop the tables: webhooks and undelivered events are lost."""
    for trigger in ("task_events_batches", "task_events_webhooks"):
        op.execute(f"DROP TRIGGER {trigger} ON task_events")
    for function in ("enqueue_batch_done", "receivers_of_batch", "enqueue_webhook_deliveries"):
        op.execute(f"DROP FUNCTION {function}")
    for name in ("callback_secrets", "webhook_deliveries", "webhooks"):
        op.drop_table(name)
    for table in ("batches", "tasks"):
        op.drop_column(table, "callback_url")
