-- How many frames of each object are there, by polarisation state and camera? Objects are cards of the raw files.
SELECT night.pipeline, night.date, raw.cards ->> 'OBJECT' AS object, product.flc, product.camera, SUM(lineage.n_frames) AS frames
FROM lineage
JOIN file AS product ON product.id = lineage.product_id
JOIN file AS raw ON raw.id = lineage.raw_id
JOIN night ON night.id = raw.night_id
GROUP BY night.pipeline, night.date, raw.cards ->> 'OBJECT', product.flc, product.camera
ORDER BY night.pipeline, night.date, object, product.flc, product.camera
