-- Is every frame accounted for? One row for each night; `unaccounted` is 0.
SELECT pipeline, date, SUM(n_frames) AS frames, SUM(in_products) AS in_products, SUM(lost_frames) AS lost,
       SUM(unaccounted) AS unaccounted
FROM frame_balance
WHERE quarantine_reason IS NULL
GROUP BY pipeline, date
ORDER BY pipeline, date
