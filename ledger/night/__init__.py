"""One night on record: its pipeline, products and journal, and the lease of who holds it.

For other rooms: every module.
"""
