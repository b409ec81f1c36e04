"""A ledger restored from a backup, or rebuilt from files.

For other rooms: `restore`, `rebuild`.
"""
