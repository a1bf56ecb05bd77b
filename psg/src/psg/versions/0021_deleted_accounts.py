"""No row of a deleted account: neither is one added, nor does the account go before its last one.

As a foreign key would do, but for its effects: `owner_id` may name an account that was never there,
as in a database of tasks that is restored before its accounts, and the worker's role needs no right
on `users`.
"""

# ruff: noqa: S608 # the names of tables are those below

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# Every table with a row of an account, but for those that go with a task, and for usage_days, which
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
# Which of those rows are still in use: the sweeper has to see what becomes of the others' files.
_IN_USE = {
    "brands": "deleted_at IS NULL",
    "uploads": "task_id IS NULL AND deleted_at IS NULL AND removed_at IS NULL"
    " AND expires_at > now()",
}
_ROWS = " OR ".join(
    f"EXISTS (SELECT FROM {name} WHERE owner_id = OLD.id AND {_IN_USE.get(name, 'true')})"
    for name in OWNED
)
# An account and those who add rows for it lock the same one of 256 numbers: as many accounts as
# there are in one transaction may not fill PostgreSQL's table of locks.
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
    with op.get_context().autocommit_block():
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


def downgrade() -> None:
    op.execute("DROP TRIGGER IF EXISTS users_owner_has_rows ON users")
    for name in OWNED:
        op.execute(f"DROP TRIGGER IF EXISTS {name}_owner_exists ON {name}")
    op.execute("DROP FUNCTION IF EXISTS keep_owners, refuse_deleted_owners")
