-- Where does every night stand?
SELECT pipeline, date, kind, state, files, frames, quarantined, failed
FROM night_status
ORDER BY pipeline, date, kind, position
