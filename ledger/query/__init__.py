"""Answers for people; reads only.

For other rooms: `status`, `history`, `summary`, `counts`.
"""
