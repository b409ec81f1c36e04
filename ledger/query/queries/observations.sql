-- What was observed, target by target? Exposure time is that of all frames, in seconds.
SELECT pipeline, date, target, program, filter_1, COUNT(*) AS products, SUM(n_frames) AS frames,
       SUM(n_frames * exposure_us) / 1e6 AS exposure_s
FROM observation
GROUP BY pipeline, date, target, program, filter_1
ORDER BY pipeline, date, target, filter_1
