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

-- Every live frame ID with the one before it that is in order (late ones, which carry a reason, are not). `disorder` is 1
-- where time (then camera, then FLC) runs backwards and no reason is on record. One ID back is enough: where any two IDs
-- are out of order, two neighbours are.
CREATE VIEW id_order AS
SELECT id.frame_id, id.prefix, id.number, id.start_us, id.camera, id.flc, id.late, id.late_reason, night.date,
       id.previous_number, last.start_us AS previous_start_us,
       last.frame_id AS last_frame_id, last.start_us AS last_start_us, last.camera AS last_camera, last.flc AS last_flc,
       CASE WHEN id.late THEN 0
            WHEN (last.start_us, last.camera, COALESCE(last.flc, '')) > (id.start_us, id.camera, COALESCE(id.flc, ''))
            THEN 1 ELSE 0 END AS disorder
FROM (SELECT frame_id, prefix, number, start_us, camera, flc, late, late_reason, night_id,
             MAX(CASE WHEN late THEN NULL ELSE number END)
                 OVER (PARTITION BY prefix ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                 AS previous_number
      FROM frame_id WHERE status = 'live') AS id
JOIN night ON night.id = id.night_id
LEFT JOIN frame_id AS last ON last.prefix = id.prefix AND last.number = id.previous_number
-- end

-- Frame IDs of which no block of the sequence holds the number. Must be empty.
CREATE VIEW id_outside_block AS
SELECT frame_id.frame_id, frame_id.number, night.date
FROM frame_id
JOIN night ON night.id = frame_id.night_id
WHERE NOT EXISTS (SELECT 1 FROM frame_block
                  WHERE frame_block.prefix = frame_id.prefix
                    AND frame_id.number BETWEEN frame_block.first_number AND frame_block.last_number)
-- end

-- Frame IDs that the counter has yet to come to; `next_number` is null where there is no counter. Must be empty.
CREATE VIEW id_beyond_counter AS
SELECT frame_id.frame_id, frame_id.prefix, frame_id.number, frame_sequence.next_number, night.date
FROM frame_id
JOIN night ON night.id = frame_id.night_id
LEFT JOIN frame_sequence ON frame_sequence.prefix = frame_id.prefix
WHERE frame_sequence.next_number IS NULL OR frame_id.number >= frame_sequence.next_number
-- end

-- Numbers below the counter that no frame ID has, in runs. The counter itself stands for the ID after the last.
CREATE VIEW id_missing AS
SELECT prefix, before + 1 AS first_number, number - 1 AS last_number
FROM (SELECT prefix, number, LAG(number, 1, 0) OVER (PARTITION BY prefix ORDER BY number) AS before
      FROM (SELECT prefix, number FROM frame_id
            UNION ALL SELECT prefix, next_number FROM frame_sequence) AS taken) AS pairs
WHERE number > before + 1
-- end

-- Those of them that a block holds: each of its numbers is given, in order. Must be empty.
CREATE VIEW id_gap AS
SELECT missing.prefix,
       CASE WHEN block.first_number > missing.first_number THEN block.first_number ELSE missing.first_number END
           AS first_number,
       CASE WHEN block.last_number < missing.last_number THEN block.last_number ELSE missing.last_number END
           AS last_number
FROM id_missing AS missing
JOIN frame_block AS block ON block.prefix = missing.prefix
 AND block.first_number <= missing.last_number AND block.last_number >= missing.first_number
-- end

-- Products in a state that needs a frame ID, with the live one that they have (null: none), and what both say of time,
-- camera and FLC; `agrees` is 1 where that is the same, and the ID is of the product's night.
CREATE VIEW id_of_product AS
SELECT night.date, file.name, file.state, file.first_us - file.exposure_us AS start_us, file.camera, file.flc,
       id.frame_id, id.start_us AS id_start_us, id.camera AS id_camera, id.flc AS id_flc,
       CASE WHEN id.night_id = file.night_id THEN 1 ELSE 0 END AS is_of_night,
       CASE WHEN id.night_id = file.night_id AND id.start_us = file.first_us - file.exposure_us
                 AND id.camera = file.camera AND COALESCE(id.flc, '') = COALESCE(file.flc, '') THEN 1
            ELSE 0 END AS agrees
FROM file
JOIN night ON night.id = file.night_id
JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
LEFT JOIN frame_id AS id ON id.identity = file.identity AND id.status = 'live'
WHERE file.kind = 'product' AND state.needs_frame_id
-- end

-- How far the numbering of each prefix has come: the first night that gets numbers (null: any), and the night of the
-- newest live frame ID in order.
CREATE VIEW numbering AS
SELECT frame_sequence.prefix, frame_sequence.from_date,
       (SELECT night.date FROM frame_id
        JOIN night ON night.id = frame_id.night_id
        WHERE frame_id.prefix = frame_sequence.prefix AND frame_id.status = 'live' AND NOT frame_id.late
        ORDER BY frame_id.number DESC LIMIT 1) AS newest_date
FROM frame_sequence
-- end

-- Nights that this ledger has made products of, or began to: the step that makes them precedes all that it writes.
CREATE VIEW paired_night AS
SELECT night.id AS night_id, night.pipeline, night.date
FROM night
WHERE EXISTS (SELECT 1 FROM entry
              WHERE entry.night_id = night.id
                AND entry.edge = (SELECT edge.name FROM edge
                                  JOIN state ON state.pipeline = edge.pipeline AND state.name = edge.destination
                                  WHERE edge.pipeline = night.pipeline AND edge.direction = 'forward'
                                    AND state.makes_products))
-- end

-- Decisions that stand to leave out files that may hold frames and are no raw files; of all nights where `date` is null.
CREATE VIEW outside_decision AS
SELECT outside_rule.id, outside_rule.pattern, outside_rule.reason, night.pipeline, night.date
FROM outside_rule
LEFT JOIN night ON night.id = outside_rule.night_id
WHERE outside_rule.withdrawn_us IS NULL
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

-- What is in quarantine, and why.
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
-- `night_id` is that of the live frame ID, null where it lives no more.
CREATE VIEW archive_word AS
SELECT line.receipt_id, line.frame_id, line.identity, line.size_bytes, line.sha256, line.difference, frame_id.night_id
FROM receipt_line AS line
LEFT JOIN frame_id ON frame_id.frame_id = line.frame_id AND frame_id.status = 'live'
WHERE line.withdrawn_us IS NULL
  AND NOT EXISTS (SELECT 1 FROM receipt_line AS newer
                  WHERE newer.frame_id = line.frame_id AND newer.receipt_id > line.receipt_id
                    AND newer.withdrawn_us IS NULL)
-- end

-- Mails of each night that perhaps, or for some recipients, did not arrive, and were not sent again since. What the
-- archive has confirmed has arrived, unless it was refused for somebody. Such mails are few: SQLite is told to begin there.
CREATE VIEW mail_in_doubt AS
SELECT DISTINCT frame_id.night_id, mail.id AS mail_id
FROM mail
CROSS JOIN mail_line AS line
CROSS JOIN frame_id
WHERE mail.error IS NULL AND (mail.sent_us IS NULL OR CAST(mail.refused AS TEXT) <> '[]')
  AND line.mail_id = mail.id AND line.withdrawn_us IS NULL
  AND frame_id.frame_id = line.frame_id
  AND NOT EXISTS (SELECT 1 FROM mail_line AS again
                  JOIN mail AS later ON later.id = again.mail_id
                  WHERE again.frame_id = line.frame_id AND again.mail_id > line.mail_id AND later.error IS NULL)
  AND (CAST(mail.refused AS TEXT) <> '[]'
       OR NOT EXISTS (SELECT 1 FROM archive_word
                      WHERE archive_word.frame_id = line.frame_id AND archive_word.difference IS NULL
                        AND archive_word.night_id IS NOT NULL))
-- end

-- What was observed: a row for each product that is not in quarantine. Target, filters and program are cards of its first
-- raw file; `path` is where the newest proof that stands found its copy (null: it is not at a destination).
CREATE VIEW observation AS
SELECT night.pipeline, night.date, frame_id.frame_id, product.name, product.state,
       raw.cards ->> 'OBJECT' AS target, raw.cards ->> 'DATA-TYP' AS data_type, raw.cards ->> 'FILTER01' AS filter_1,
       raw.cards ->> 'FILTER02' AS filter_2, raw.cards ->> 'PROP-ID' AS program,
       product.camera, product.flc, product.synchronised, product.group_number, product.n_frames,
       product.exposure_us, product.first_us, product.last_us, product.size_bytes, product.sha256,
       copy.host, copy.path, copy.proven_us
FROM file AS product
JOIN night ON night.id = product.night_id
JOIN lineage ON lineage.product_id = product.id AND lineage.position = 0
JOIN file AS raw ON raw.id = lineage.raw_id
LEFT JOIN frame_id ON frame_id.identity = product.identity AND frame_id.status = 'live'
LEFT JOIN copy ON copy.id = (SELECT MAX(newest.id) FROM copy AS newest
                             WHERE newest.identity = product.identity AND newest.night_id = product.night_id
                               AND newest.withdrawn_us IS NULL AND newest.refuted_us IS NULL)
WHERE product.kind = 'product' AND product.quarantine_reason IS NULL
-- end
