"""The sequence of frame IDs, the gate before it, and the proof of both.

For other rooms: every module without `_`.
"""
