"""What lies on disk, and the one place that renames, removes and syncs it.

For other rooms: every module.
"""
