-- law: every state was reached by an entry of the ledger
-- next: ledger history of the file tells what is missing
SELECT night.date, file.folder, file.name, file.state
FROM file
JOIN night ON night.id = file.night_id
WHERE file.quarantine_reason IS NULL
  AND NOT EXISTS (SELECT 1 FROM entry
                  WHERE entry.identity = file.identity AND entry.destination = file.state
                    AND entry.event IN ('done', 'registered'))
