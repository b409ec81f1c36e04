"""The laws proven, by SQL and by reading all files again; what keeps the ledger from working.

For other rooms: `laws`, `deep`, `doctor`.
"""
