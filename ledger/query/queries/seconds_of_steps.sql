-- Which steps take the most time? In seconds of one worker.
SELECT edge, COUNT(*) AS files, SUM(seconds) AS seconds, SUM(size_bytes) / 1e6 / SUM(seconds) AS megabytes_per_second
FROM entry
WHERE event = 'done' AND seconds > 0
GROUP BY edge
ORDER BY seconds DESC
