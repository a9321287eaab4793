"""The worker's own Redis and PostgreSQL, for `"embedded"` in an archive, for the demo and for tests."""
