"""Triggers that refuse rows of deleted accounts, and the deletion of an account that has rows.

A foreign key would do the same, but with triggers `owner_id` may name an account that was never
there, as when tasks are restored before accounts, and the worker's role needs no right on `users`.
"""

# ruff: noqa: S608 # the names of tables are those below

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# Every table with a row of an account, except those that go with a task, and usage_days, which
# is deleted with the account.
OWNED = (
    "batches",
    "brand_defaults",
    "brands",
    "callback_secrets",
    "tasks",
    "uploads",
    "webhooks",
)
# Rows that block the deletion; the others are over, and the sweeper still removes their files.
_IN_USE = {
    "brands": "deleted_at IS NULL",
    "uploads": "task_id IS NULL AND deleted_at IS NULL AND removed_at IS NULL"
    " AND expires_at > now()",
}
_ROWS = " OR ".join(
    f"EXISTS (SELECT FROM {name} WHERE owner_id = OLD.id AND {_IN_USE.get(name, 'true')})"
    for name in OWNED
)
# Deleting an account and adding rows for it take the same advisory lock: one of 256, so that a
# transaction with rows of many accounts does not fill PostgreSQL's shared lock table.
_ADDED = """
CREATE OR REPLACE FUNCTION refuse_deleted_owners() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    deleted bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('accounts'), number)
        FROM (SELECT DISTINCT (owner_id % 256)::int AS number FROM added ORDER BY number) AS locks;
    SELECT owner_id INTO deleted FROM added
        WHERE owner_id <= (SELECT last_value FROM users_id_seq WHERE is_called)
            AND NOT EXISTS (SELECT FROM users WHERE id = owner_id) LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'owner_exists',
            MESSAGE = format('account %s is deleted', deleted);
    END IF;
    RETURN NULL;
END $$
"""
_DELETED = f"""
CREATE OR REPLACE FUNCTION keep_owners() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('accounts'), (OLD.id % 256)::int);
    IF {_ROWS} THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'owner_has_rows',
            MESSAGE = format('account %s has tasks or other rows', OLD.id);
    END IF;
    DELETE FROM brands WHERE owner_id = OLD.id;
    DELETE FROM uploads WHERE owner_id = OLD.id AND removed_at IS NOT NULL;
    -- No account's, until the sweeper has removed the file.
    UPDATE uploads SET owner_id = 0, name = NULL, metadata = NULL,
        deleted_at = coalesce(deleted_at, now()) WHERE owner_id = OLD.id;
    RETURN OLD;
END $$
"""


def upgrade() -> None:
    """Add the triggers, each in a transaction of its own: no table waits for another's writers."""
    op.execute(_ADDED)
    op.execute(_DELETED)
    with op.get_context().autocommit_block(), _limited_lock_waits():
        for name in OWNED:
            op.execute(
                f"CREATE OR REPLACE TRIGGER {name}_owner_exists AFTER INSERT ON {name}"
                " REFERENCING NEW TABLE AS added FOR EACH STATEMENT"
                " EXECUTE FUNCTION refuse_deleted_owners()"
            )
        op.execute(
            "CREATE OR REPLACE TRIGGER users_owner_has_rows BEFORE DELETE ON users"
            " FOR EACH ROW EXECUTE FUNCTION keep_owners()"
        )


@contextmanager
def _limited_lock_waits() -> Iterator[None]:
    """As `psg.migrate` in transactions: while CREATE TRIGGER waits, all writers wait behind it."""
    op.execute("SET lock_timeout = '2s'")
    try:
        yield
    finally:
        op.execute("RESET lock_timeout")


def downgrade() -> None:
    op.execute("DROP TRIGGER IF EXISTS users_owner_has_rows ON users")
    for name in OWNED:
        op.execute(f"DROP TRIGGER IF EXISTS {name}_owner_exists ON {name}")
    op.execute("DROP FUNCTION IF EXISTS keep_owners, refuse_deleted_owners")
