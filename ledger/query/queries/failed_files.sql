-- Which files failed, and have not succeeded since?
SELECT night.pipeline, night.date, file.name, file.state, file.attempts, file.error
FROM file
JOIN night ON night.id = file.night_id
WHERE file.error IS NOT NULL
ORDER BY night.pipeline, night.date, file.name
