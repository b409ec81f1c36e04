-- Which commands ran last, on which machine, and how did they end?
SELECT id, command, arguments, host, (ended_us - started_us) / 1e6 AS seconds, exit_status
FROM run
ORDER BY id DESC
LIMIT 20
