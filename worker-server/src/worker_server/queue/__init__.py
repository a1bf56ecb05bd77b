"""The work queue in PostgreSQL: claims, leases, preemption and the wake-ups sent through Redis."""
