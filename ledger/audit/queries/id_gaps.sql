-- law: the sequence has no gaps; every number of its blocks below the counter was given to a product
-- next: ledger sql "SELECT * FROM entry WHERE event IN ('reserved', 'assigned', 'withdrawn', 'reclaimed')"
SELECT prefix, first_number, last_number, NULL AS next_number FROM id_gap
UNION ALL
SELECT prefix, number, number, next_number FROM id_beyond_counter
