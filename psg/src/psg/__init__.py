"""The database schema: roles and migrations."""
