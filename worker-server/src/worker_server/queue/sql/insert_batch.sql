-- Stores a batch unless its owner has one with the same idempotency key already; returns its id,
-- time of creation, and the owner's own quotas from the web app's table users, of which the role
-- worker may read id and quotas. The time is taken under the lock, see submissions.py.
WITH accepted AS MATERIALIZED (
    SELECT clock_timestamp() AS at
    FROM (SELECT pg_advisory_xact_lock_shared(:lock, hashint8(:owner_id))) AS locked
)
INSERT INTO batches (
    id, owner_id, name, callback_url, idempotency_key, idempotency_body_sha256, created_at
) VALUES (
    :id, :owner_id, :name, :callback_url, :idempotency_key, :body_sha256,
    (SELECT at FROM accepted)
)
ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id, created_at, (SELECT quotas FROM users WHERE users.id = batches.owner_id) AS quotas
