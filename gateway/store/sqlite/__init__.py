"""The store of one host, in one SQLite file."""
