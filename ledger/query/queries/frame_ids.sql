-- Which frame IDs does each night have?
SELECT date, MIN(frame_id) AS first, MAX(frame_id) AS last, COUNT(*) AS ids, SUM(disorder) AS in_disorder
FROM id_order
GROUP BY date
ORDER BY date
