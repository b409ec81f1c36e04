"""What is at the destination and who was told: copies, manifest, mail, receipts, room made here.

For other rooms: every module without `_`.
"""
