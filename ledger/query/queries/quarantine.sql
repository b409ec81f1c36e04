-- What is in quarantine, and why?
SELECT date, folder, name, reason
FROM quarantine
ORDER BY date, folder, name
