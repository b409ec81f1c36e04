-- law: every number comes from a block that the sequence was given
-- next: ledger ids check tells which files carry it; ledger history of the ID tells how it came to be
SELECT frame_id, number FROM id_outside_block
