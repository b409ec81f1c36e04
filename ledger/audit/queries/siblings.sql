-- law: siblings of a synchronised group come in both cameras, with as many frames and the same times
-- next: ledger rollback the night to raw and advance it again; if the row stays, this is a bug
SELECT night.date, file.group_number, file.flc, COUNT(DISTINCT file.camera) AS cameras,
       MIN(file.n_frames) AS least, MAX(file.n_frames) AS most
FROM file
JOIN night ON night.id = file.night_id
WHERE file.kind = 'product' AND file.synchronised
GROUP BY file.night_id, night.date, file.group_number, file.flc
HAVING COUNT(DISTINCT file.camera) <> 2 OR MIN(file.n_frames) <> MAX(file.n_frames)
    OR MIN(file.first_us) <> MAX(file.first_us) OR MIN(file.last_us) <> MAX(file.last_us)
