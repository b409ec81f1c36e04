-- Views for people. Both databases read this file; statements end with a line of their own: `-- end`.

-- How many files of each night are in each state.
CREATE VIEW night_status AS
SELECT night.pipeline, night.date, file.kind, state.position, file.state,
       COUNT(*) AS files, SUM(file.n_frames) AS frames,
       SUM(CASE WHEN file.quarantine_reason IS NOT NULL THEN 1 ELSE 0 END) AS quarantined,
       SUM(CASE WHEN file.error IS NOT NULL THEN 1 ELSE 0 END) AS failed
FROM night
JOIN file ON file.night_id = night.id
JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
GROUP BY night.pipeline, night.date, file.kind, state.position, file.state
-- end

-- How far the frames of each raw file have come: the state of its slowest product.
CREATE VIEW raw_progress AS
SELECT raw.id AS raw_id, night.date, raw.folder, raw.name, raw.n_frames, raw.quarantine_reason,
       COALESCE(
           (SELECT slowest.name FROM state AS slowest
            WHERE slowest.pipeline = raw.pipeline AND slowest.position =
                  (SELECT MIN(state.position) FROM lineage
                   JOIN file AS product ON product.id = lineage.product_id
                   JOIN state ON state.pipeline = product.pipeline AND state.name = product.state
                   WHERE lineage.raw_id = raw.id)),
           raw.state) AS progress
FROM file AS raw
JOIN night ON night.id = raw.night_id
WHERE raw.kind = 'raw'
-- end

-- The first law: what each raw file has, and where it went. A file in the flow balances when it is synced.
CREATE VIEW frame_balance AS
SELECT raw.id AS raw_id, night.pipeline, night.date, raw.folder, raw.name, raw.state, raw.quarantine_reason,
       raw.n_frames, raw.lost_frames, COALESCE(made.n_frames, 0) AS in_products,
       raw.n_frames - raw.lost_frames - COALESCE(made.n_frames, 0) AS unaccounted
FROM file AS raw
JOIN night ON night.id = raw.night_id
LEFT JOIN (SELECT raw_id, SUM(n_frames) AS n_frames FROM lineage GROUP BY raw_id) AS made ON made.raw_id = raw.id
WHERE raw.kind = 'raw'
-- end

-- Every live frame ID with the one before it; `disorder` is 1 where time runs backwards and no reason is on record.
CREATE VIEW id_order AS
SELECT ordered.*,
       CASE WHEN ordered.late THEN 0
            WHEN ordered.previous_start_us > ordered.start_us THEN 1
            WHEN ordered.last_start_us = ordered.start_us AND ordered.last_camera > ordered.camera THEN 1
            WHEN ordered.last_start_us = ordered.start_us AND ordered.last_camera = ordered.camera
                 AND ordered.last_flc > COALESCE(ordered.flc, '') THEN 1
            ELSE 0 END AS disorder
FROM (SELECT frame_id.frame_id, frame_id.prefix, frame_id.number, frame_id.start_us, frame_id.camera, frame_id.flc,
             frame_id.late, frame_id.late_reason, night.date,
             LAG(frame_id.number) OVER (PARTITION BY frame_id.prefix ORDER BY frame_id.number) AS previous_number,
             LAG(frame_id.start_us) OVER (PARTITION BY frame_id.prefix ORDER BY frame_id.number) AS last_start_us,
             LAG(frame_id.camera) OVER (PARTITION BY frame_id.prefix ORDER BY frame_id.number) AS last_camera,
             LAG(COALESCE(frame_id.flc, '')) OVER (PARTITION BY frame_id.prefix ORDER BY frame_id.number) AS last_flc,
             MAX(CASE WHEN frame_id.late THEN NULL ELSE frame_id.start_us END)
                 OVER (PARTITION BY frame_id.prefix ORDER BY frame_id.number
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_start_us
      FROM frame_id
      JOIN night ON night.id = frame_id.night_id
      WHERE frame_id.status = 'live') AS ordered
-- end

-- Products whose state says that they are proven at the destination, without a proof that stands: their copies were not
-- right when they were last read, and `fault` says what was found. Must be empty.
CREATE VIEW unverified AS
SELECT night.date, file.name, file.state, file.sha256,
       (SELECT copy.fault FROM copy
        WHERE copy.identity = file.identity AND copy.night_id = file.night_id AND copy.withdrawn_us IS NULL
        ORDER BY copy.id DESC LIMIT 1) AS fault
FROM file
JOIN night ON night.id = file.night_id
JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
WHERE file.kind = 'product' AND state.needs_copy
  AND NOT EXISTS (SELECT 1 FROM copy
                  WHERE copy.identity = file.identity AND copy.night_id = file.night_id
                    AND copy.sha256 = file.sha256 AND copy.withdrawn_us IS NULL AND copy.refuted_us IS NULL)
-- end

-- What is out of the flow, and why.
CREATE VIEW quarantine AS
SELECT night.pipeline, night.date, file.kind, file.folder, file.name, file.state, file.n_frames,
       file.quarantine_reason AS reason, file.attempts, file.is_discarded
FROM file
JOIN night ON night.id = file.night_id
WHERE file.quarantine_reason IS NOT NULL
-- end

-- Copies that were not right when they were last read: a look that finds one bad refutes every proof of it, so a proof
-- that stands is newer.
CREATE VIEW refuted AS
SELECT copy.id AS copy_id, copy.night_id, copy.identity, copy.fault
FROM copy
WHERE copy.refuted_us IS NOT NULL AND copy.withdrawn_us IS NULL
  AND NOT EXISTS (SELECT 1 FROM copy AS newer
                  WHERE newer.night_id = copy.night_id AND newer.identity = copy.identity
                    AND newer.withdrawn_us IS NULL AND newer.refuted_us IS NULL)
-- end

-- What the archive said last of each product, unless the product was withdrawn since; it has those without a difference.
CREATE VIEW archive_word AS
SELECT line.receipt_id, line.frame_id, line.identity, line.size_bytes, line.sha256, line.difference
FROM receipt_line AS line
WHERE line.withdrawn_us IS NULL
  AND NOT EXISTS (SELECT 1 FROM receipt_line AS newer
                  WHERE newer.frame_id = line.frame_id AND newer.receipt_id > line.receipt_id
                    AND newer.withdrawn_us IS NULL)
-- end
