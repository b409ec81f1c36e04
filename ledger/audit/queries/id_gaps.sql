-- law: the sequence has no gaps; every number of its blocks below the counter was given to a product
-- next: ledger sql "SELECT * FROM entry WHERE event IN ('reserved', 'assigned', 'withdrawn', 'reclaimed')"
WITH step AS (
    SELECT prefix, number, COALESCE(LAG(number) OVER (PARTITION BY prefix ORDER BY number), 0) AS previous_number
    FROM frame_id
    UNION ALL
    SELECT frame_sequence.prefix, frame_sequence.next_number, COALESCE(MAX(frame_id.number), 0)
    FROM frame_sequence
    LEFT JOIN frame_id ON frame_id.prefix = frame_sequence.prefix
    GROUP BY frame_sequence.prefix, frame_sequence.next_number
)
SELECT step.prefix, step.number, step.previous_number
FROM step
WHERE step.number <= step.previous_number
   OR (step.number > step.previous_number + 1
       AND EXISTS (SELECT 1 FROM frame_block
                   WHERE frame_block.prefix = step.prefix AND frame_block.first_number < step.number
                     AND frame_block.last_number > step.previous_number))
