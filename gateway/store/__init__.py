"""What is kept: teams, keys and the ledger, in Redis or in SQLite, behind one interface."""
