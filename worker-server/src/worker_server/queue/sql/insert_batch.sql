-- Stores a batch unless its owner has one with the same idempotency key already; returns its id,
-- time of creation, and the owner's own quotas from the web app's table users, of which the role
-- worker may read id and quotas.
INSERT INTO batches (
    id, owner_id, name, callback_url, idempotency_key, idempotency_body_sha256
) VALUES (
    :id, :owner_id, :name, :callback_url, :idempotency_key, :body_sha256
)
ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id, created_at, (SELECT quotas FROM users WHERE users.id = batches.owner_id) AS quotas
