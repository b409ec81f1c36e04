-- What is in quarantine, and why?
SELECT pipeline, date, folder, name, reason
FROM quarantine
ORDER BY pipeline, date, folder, name
