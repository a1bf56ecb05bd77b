"""Backup and restore of the database and the share, with nothing but Python and PostgreSQL's own programs."""
