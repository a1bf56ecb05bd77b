"""Fixtures every test suite shares: a real PostgreSQL with the migrated schema, a real Redis."""
