"""The ledger: knows the database, never a pixel."""
