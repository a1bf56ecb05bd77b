"""Tell accounts of their tasks' events, by Standard Webhooks 1.0."""
