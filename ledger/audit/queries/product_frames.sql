-- law: a product has as many frames as its lineage names
-- next: ledger rollback the night to raw and advance it again
SELECT night.date, file.name, file.n_frames, COALESCE(SUM(lineage.n_frames), 0) AS in_lineage
FROM file
JOIN night ON night.id = file.night_id
LEFT JOIN lineage ON lineage.product_id = file.id
WHERE file.kind = 'product'
GROUP BY night.date, file.id, file.name, file.n_frames
HAVING file.n_frames <> COALESCE(SUM(lineage.n_frames), 0)
