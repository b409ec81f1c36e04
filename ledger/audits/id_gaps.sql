-- law: the sequence has no gaps; every number below the counter was given to a product
-- next: ledger sql "SELECT * FROM entry WHERE event IN ('assigned', 'withdrawn', 'reclaimed')"
SELECT prefix, number, previous_number
FROM (SELECT prefix, number, LAG(number) OVER (PARTITION BY prefix ORDER BY number) AS previous_number FROM frame_id) AS n
WHERE previous_number IS NOT NULL AND number <> previous_number + 1
UNION ALL
SELECT frame_sequence.prefix, frame_sequence.next_number, MAX(frame_id.number)
FROM frame_sequence
JOIN frame_id ON frame_id.prefix = frame_sequence.prefix
GROUP BY frame_sequence.prefix, frame_sequence.next_number
HAVING frame_sequence.next_number <> MAX(frame_id.number) + 1
