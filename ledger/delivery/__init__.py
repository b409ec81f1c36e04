"""What is at the destination and what was given out: copies, manifest, mail, receipts, alerts; pruning here.

For other rooms: every module without `_`.
"""
