-- Which raw files went into a product, and which of their frames? This query selects by frame ID; for the other direction, select by `raw.name`.
SELECT frame_id.frame_id, product.name AS product, raw.folder, raw.name AS raw_file, lineage.n_frames, lineage.runs
FROM frame_id
JOIN file AS product ON product.identity = frame_id.identity
JOIN lineage ON lineage.product_id = product.id
JOIN file AS raw ON raw.id = lineage.raw_id
WHERE frame_id.frame_id = 'VMPA00000001'
ORDER BY lineage.position
