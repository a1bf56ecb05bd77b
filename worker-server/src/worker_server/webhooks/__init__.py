"""Sends events of tasks to the accounts' URLs, as Standard Webhooks 1.0."""
