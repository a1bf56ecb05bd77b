-- Stores a task unless its owner has one with the same idempotency key already; returns its
-- time of creation, and the owner's own quotas from the web app's table users, of which the role
-- worker may read id and quotas. The time is taken under the lock, see submissions.py.
WITH accepted AS MATERIALIZED (
    SELECT clock_timestamp() AS at
    FROM (SELECT pg_advisory_xact_lock_shared(:lock, hashint8(:owner_id))) AS locked
)
INSERT INTO tasks (
    id, owner_id, url, name, external_id, metadata, edit, starts_manually, request_id, traceparent,
    idempotency_key, idempotency_body_sha256, callback_url, created_at, updated_at
) VALUES (
    :id, :owner_id, :url, :name, :external_id, CAST(:metadata AS json), CAST(:edit AS jsonb),
    :starts_manually, :request_id, :traceparent, :idempotency_key, :body_sha256, :callback_url,
    (SELECT at FROM accepted), (SELECT at FROM accepted)
)
ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING created_at, (SELECT quotas FROM users WHERE users.id = tasks.owner_id) AS quotas
