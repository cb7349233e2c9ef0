"""The proof of the ledger: real workers, a real Redis and lying providers, all of them harmed, and a judge."""
