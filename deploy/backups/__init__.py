"""Backup and restore of the database and the share, with Python and PostgreSQL alone."""
