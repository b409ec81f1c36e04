"""A raw night of known truth.

For other rooms: `night`, `truth`.
"""
