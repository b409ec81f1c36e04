-- law: every number comes from a block that the sequence was given
-- next: ledger ids check tells which files carry it; ledger history of the ID tells how it came to be
SELECT frame_id.frame_id, frame_id.number
FROM frame_id
WHERE NOT EXISTS (SELECT 1 FROM frame_block
                  WHERE frame_block.prefix = frame_id.prefix
                    AND frame_id.number BETWEEN frame_block.first_number AND frame_block.last_number)
