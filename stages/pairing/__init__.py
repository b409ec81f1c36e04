"""Which frames of two cameras are one exposure, and which FLC state each has.

For other rooms: every module.
"""
