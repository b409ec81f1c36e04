-- law: frame IDs are in order of time (late ones, which carry a reason, apart)
-- next: ledger history of both IDs tells how it came to be
SELECT frame_id, date, number, previous_number, start_us, previous_start_us
FROM id_order
WHERE disorder = 1
