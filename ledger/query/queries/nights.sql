-- Where does every night stand?
SELECT date, kind, state, files, frames, quarantined, failed
FROM night_status
ORDER BY date, kind, position
