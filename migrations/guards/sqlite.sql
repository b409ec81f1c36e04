-- Guards: what the database itself refuses. Statements end with a line of their own: `-- end`.
-- INSERT is guarded too, because INSERT OR REPLACE goes around UPDATE and DELETE. UPDATE OR REPLACE deletes, too.

-- The ledger is append-only.
CREATE TRIGGER guard_entry_update BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'guard: entry is append-only'); END
-- end
CREATE TRIGGER guard_entry_delete BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'guard: entry is append-only'); END
-- end
CREATE TRIGGER guard_entry_insert BEFORE INSERT ON entry
WHEN EXISTS (SELECT 1 FROM entry WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'guard: entry is append-only'); END
-- end

-- A file is born raw, or as a product in the state that makes products.
CREATE TRIGGER guard_file_insert BEFORE INSERT ON file
BEGIN
    SELECT RAISE(ABORT, 'guard: a file row exists already and is not replaced')
    WHERE EXISTS (SELECT 1 FROM file WHERE id = NEW.id
                  OR (night_id = NEW.night_id AND folder = NEW.folder AND name = NEW.name)
                  OR (pipeline = NEW.pipeline AND identity = NEW.identity));
    SELECT RAISE(ABORT, 'guard: a file is born raw, or as a product where products are made')
    WHERE NOT EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state
                      AND CASE NEW.kind WHEN 'raw' THEN position = 0 ELSE makes_products END);
END
-- end

-- What a file is made of, and whose it is, does not change.
CREATE TRIGGER guard_file_identity BEFORE UPDATE OF id, night_id, pipeline, kind, identity ON file
WHEN NEW.id <> OLD.id OR NEW.night_id <> OLD.night_id OR NEW.pipeline <> OLD.pipeline OR NEW.kind <> OLD.kind
     OR (NEW.identity <> OLD.identity AND (OLD.kind = 'product' OR OLD.state <> (
         SELECT name FROM state WHERE pipeline = OLD.pipeline AND position = 0)))
BEGIN SELECT RAISE(ABORT, 'guard: the identity of a file does not change'); END
-- end

-- State changes follow declared edges, and evidence comes first.
CREATE TRIGGER guard_file_state BEFORE UPDATE OF state ON file
WHEN NEW.state <> OLD.state
BEGIN
    SELECT RAISE(ABORT, 'guard: no declared edge leads there')
    WHERE NOT EXISTS (SELECT 1 FROM edge WHERE pipeline = NEW.pipeline AND kind = NEW.kind
                      AND source = OLD.state AND destination = NEW.state);
    SELECT RAISE(ABORT, 'guard: a quarantined file does not move')
    WHERE OLD.quarantine_reason IS NOT NULL AND NEW.quarantine_reason IS NOT NULL
      AND EXISTS (SELECT 1 FROM edge WHERE pipeline = NEW.pipeline AND kind = NEW.kind
                  AND source = OLD.state AND destination = NEW.state AND direction = 'forward');
    SELECT RAISE(ABORT, 'guard: a product has lineage')
    WHERE NEW.kind = 'product' AND NOT EXISTS (SELECT 1 FROM lineage WHERE product_id = NEW.id);
END
-- end
CREATE TRIGGER guard_file_evidence BEFORE UPDATE OF state, sha256 ON file
WHEN NEW.kind = 'product'
BEGIN
    SELECT RAISE(ABORT, 'guard: no live frame ID belongs to this product')
    WHERE EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state AND needs_frame_id)
      AND NOT EXISTS (SELECT 1 FROM frame_id WHERE identity = NEW.identity AND status = 'live');
    SELECT RAISE(ABORT, 'guard: no proven copy has this SHA-256')
    WHERE EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state AND needs_copy)
      AND NOT EXISTS (SELECT 1 FROM copy WHERE identity = NEW.identity AND night_id = NEW.night_id
                      AND sha256 = NEW.sha256 AND withdrawn_us IS NULL
                      AND (refuted_us IS NULL OR NOT EXISTS (
                          SELECT 1 FROM edge WHERE pipeline = NEW.pipeline AND kind = NEW.kind
                          AND source = OLD.state AND destination = NEW.state AND direction = 'forward')));
END
-- end
-- What is removed on purpose is in the archive: each product of it is where a proven copy is needed, and has one.
CREATE TRIGGER guard_file_pruned BEFORE UPDATE OF pruned_us ON file
WHEN NEW.pruned_us IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'guard: only what is in the archive is pruned')
    WHERE NEW.quarantine_reason IS NOT NULL
       OR (NEW.kind = 'product' AND NOT EXISTS (
           SELECT 1 FROM state JOIN copy ON copy.identity = NEW.identity AND copy.sha256 = NEW.sha256
           WHERE pipeline = NEW.pipeline AND name = NEW.state AND needs_copy
             AND copy.night_id = NEW.night_id AND withdrawn_us IS NULL AND refuted_us IS NULL))
       OR (NEW.kind = 'raw' AND (
           NOT EXISTS (SELECT 1 FROM lineage WHERE raw_id = NEW.id)
           OR EXISTS (SELECT 1 FROM lineage JOIN file AS made ON made.id = lineage.product_id
                      JOIN state ON state.pipeline = made.pipeline AND state.name = made.state
                      WHERE lineage.raw_id = NEW.id AND (NOT state.needs_copy OR NOT EXISTS (
                          SELECT 1 FROM copy WHERE identity = made.identity AND sha256 = made.sha256
                          AND night_id = made.night_id AND withdrawn_us IS NULL AND refuted_us IS NULL)))));
END
-- end
CREATE TRIGGER guard_file_pruned_state BEFORE UPDATE OF state ON file
WHEN NEW.state <> OLD.state AND NEW.pruned_us IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'guard: a pruned file does not go back')
    WHERE NEW.kind = 'raw' OR NOT EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state
                                          AND needs_copy);
END
-- end
CREATE TRIGGER guard_file_delete BEFORE DELETE ON file
WHEN NOT EXISTS (SELECT 1 FROM state WHERE pipeline = OLD.pipeline AND name = OLD.state
                 AND CASE OLD.kind WHEN 'raw' THEN position = 0 ELSE makes_products END)
BEGIN SELECT RAISE(ABORT, 'guard: a row goes only from the state that it was born in'); END
-- end

-- No state changes without its entry. The entry comes first, and is the newest that tells of a state of this file: from
-- which, and to which. So it cannot vouch for another change. `+` leaves only the index of identities to be used.
CREATE TRIGGER guard_file_entry_of_state AFTER UPDATE OF state ON file
WHEN NEW.state <> OLD.state AND (OLD.state, NEW.state) IS NOT (
    SELECT source, destination FROM entry
    WHERE identity = NEW.identity AND +night_id = NEW.night_id AND (event = 'done' OR destination IS NOT NULL)
    ORDER BY id DESC LIMIT 1)
BEGIN SELECT RAISE(ABORT, 'guard: no state changes without its entry'); END
-- end
CREATE TRIGGER guard_file_entry_of_birth AFTER INSERT ON file
WHEN NOT EXISTS (
    SELECT 1 FROM (SELECT source, destination FROM entry
                   WHERE identity = NEW.identity AND +night_id = NEW.night_id
                     AND (event = 'done' OR destination IS NOT NULL)
                   ORDER BY id DESC LIMIT 1)
    WHERE source IS NULL AND destination = NEW.state)
BEGIN SELECT RAISE(ABORT, 'guard: no state changes without its entry: a file is born'); END
-- end
CREATE TRIGGER guard_file_entry_of_death AFTER DELETE ON file
WHEN NOT EXISTS (
    SELECT 1 FROM (SELECT source, destination FROM entry
                   WHERE identity = OLD.identity AND +night_id = OLD.night_id
                     AND (event = 'done' OR destination IS NOT NULL)
                   ORDER BY id DESC LIMIT 1)
    WHERE source = OLD.state AND destination IS NULL)
BEGIN SELECT RAISE(ABORT, 'guard: no state changes without its entry: a row goes'); END
-- end
-- A raw file that changed before anything was made of it is born anew, in the row that it has.
CREATE TRIGGER guard_file_entry_of_identity AFTER UPDATE OF identity ON file
WHEN NEW.identity <> OLD.identity AND NOT EXISTS (
    SELECT 1 FROM (SELECT id, source, destination FROM entry
                   WHERE identity = NEW.identity AND +night_id = NEW.night_id
                     AND (event = 'done' OR destination IS NOT NULL)
                   ORDER BY id DESC LIMIT 1) AS born
    WHERE source IS NULL AND destination = NEW.state
      AND NOT EXISTS (SELECT 1 FROM entry
                      WHERE identity = OLD.identity AND +night_id = OLD.night_id AND destination IS NOT NULL
                        AND name = OLD.folder || '/' || OLD.name AND id > born.id))
BEGIN SELECT RAISE(ABORT, 'guard: no state changes without its entry: a raw file is registered anew'); END
-- end
CREATE TRIGGER guard_file_replaced BEFORE UPDATE OF identity, folder, name ON file
WHEN (NEW.identity <> OLD.identity OR NEW.folder <> OLD.folder OR NEW.name <> OLD.name)
 AND EXISTS (SELECT 1 FROM file WHERE id <> OLD.id
             AND ((night_id = NEW.night_id AND folder = NEW.folder AND name = NEW.name)
                  OR (pipeline = NEW.pipeline AND identity = NEW.identity)))
BEGIN SELECT RAISE(ABORT, 'guard: a file row exists already and is not replaced'); END
-- end

-- A frame ID in use is not taken away or given to another product.
CREATE TRIGGER guard_frame_id_update BEFORE UPDATE ON frame_id
BEGIN
    SELECT RAISE(ABORT, 'guard: a frame ID does not change its product, number, time or lateness')
    WHERE NEW.frame_id <> OLD.frame_id OR NEW.prefix <> OLD.prefix OR NEW.number <> OLD.number
       OR NEW.identity <> OLD.identity OR NEW.night_id <> OLD.night_id OR NEW.start_us <> OLD.start_us
       OR NEW.camera <> OLD.camera OR NEW.flc IS NOT OLD.flc OR NEW.late <> OLD.late
       OR NEW.late_reason IS NOT OLD.late_reason
       OR (OLD.status <> 'live' AND NEW.status = 'live');
    SELECT RAISE(ABORT, 'guard: this frame ID is in use')
    WHERE NEW.status <> 'live' AND EXISTS (
        SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
        WHERE file.identity = OLD.identity AND file.night_id = OLD.night_id
          AND file.kind = 'product' AND state.needs_frame_id);
END
-- end
CREATE TRIGGER guard_frame_id_delete BEFORE DELETE ON frame_id
WHEN OLD.status = 'live' OR EXISTS (SELECT 1 FROM manifest_line WHERE frame_id = OLD.frame_id)
  OR EXISTS (SELECT 1 FROM mail_line WHERE frame_id = OLD.frame_id)
BEGIN SELECT RAISE(ABORT, 'guard: only a withdrawn, never manifested frame ID is reclaimed'); END
-- end
CREATE TRIGGER guard_frame_id_insert BEFORE INSERT ON frame_id
WHEN EXISTS (SELECT 1 FROM frame_id WHERE identity = NEW.identity AND status = 'live' AND NEW.status = 'live')
BEGIN SELECT RAISE(ABORT, 'guard: this frame ID, or one of this product, exists'); END
-- end
CREATE TRIGGER guard_frame_id_grows BEFORE INSERT ON frame_id
WHEN EXISTS (SELECT 1 FROM frame_id WHERE frame_id = NEW.frame_id OR (prefix = NEW.prefix AND number >= NEW.number))
BEGIN SELECT RAISE(ABORT, 'guard: frame numbers only grow'); END
-- end
CREATE TRIGGER guard_frame_id_late BEFORE INSERT ON frame_id
WHEN NEW.late <> (NEW.late_reason IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'guard: a late frame ID, and no other, has a reason'); END
-- end
CREATE TRIGGER guard_frame_id_order BEFORE INSERT ON frame_id
WHEN NEW.status = 'live' AND NOT NEW.late
 AND (SELECT (start_us, camera, COALESCE(flc, '')) > (NEW.start_us, NEW.camera, COALESCE(NEW.flc, ''))
      FROM frame_id WHERE prefix = NEW.prefix AND status = 'live' AND NOT late ORDER BY number DESC LIMIT 1)
BEGIN SELECT RAISE(ABORT, 'guard: frame IDs are in order of time'); END
-- end

-- A proof is not rewritten, and not withdrawn under a state that stands on it; once refuted, it stays so.
CREATE TRIGGER guard_copy_update BEFORE UPDATE ON copy
BEGIN
    SELECT RAISE(ABORT, 'guard: a proof is not rewritten')
    WHERE NEW.id <> OLD.id OR NEW.identity <> OLD.identity OR NEW.sha256 <> OLD.sha256 OR NEW.path <> OLD.path
       OR NEW.host <> OLD.host OR NEW.size_bytes <> OLD.size_bytes OR NEW.night_id <> OLD.night_id
       OR NEW.proven_us <> OLD.proven_us
       OR (OLD.withdrawn_us IS NOT NULL AND NEW.withdrawn_us IS NOT OLD.withdrawn_us)
       OR (OLD.refuted_us IS NOT NULL AND (NEW.refuted_us IS NOT OLD.refuted_us OR NEW.fault IS NOT OLD.fault));
    SELECT RAISE(ABORT, 'guard: a state stands on this proof')
    WHERE NEW.withdrawn_us IS NOT NULL AND EXISTS (
        SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
        WHERE file.identity = OLD.identity AND file.night_id = OLD.night_id AND state.needs_copy)
      AND NOT EXISTS (SELECT 1 FROM copy WHERE identity = OLD.identity AND night_id = OLD.night_id
                      AND sha256 = OLD.sha256 AND withdrawn_us IS NULL AND id <> OLD.id);
END
-- end
CREATE TRIGGER guard_copy_delete BEFORE DELETE ON copy
BEGIN SELECT RAISE(ABORT, 'guard: a proof is not deleted'); END
-- end
CREATE TRIGGER guard_copy_insert BEFORE INSERT ON copy
WHEN EXISTS (SELECT 1 FROM copy WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'guard: a proof is not rewritten'); END
-- end

-- Lineage is written where products are made, and goes there.
CREATE TRIGGER guard_lineage_insert BEFORE INSERT ON lineage
WHEN NOT EXISTS (SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
                 WHERE file.id = NEW.product_id AND state.makes_products)
  OR EXISTS (SELECT 1 FROM lineage WHERE product_id = NEW.product_id AND position = NEW.position)
BEGIN SELECT RAISE(ABORT, 'guard: lineage is written once, where products are made'); END
-- end
CREATE TRIGGER guard_lineage_update BEFORE UPDATE ON lineage
BEGIN SELECT RAISE(ABORT, 'guard: lineage is written once, where products are made'); END
-- end
CREATE TRIGGER guard_lineage_delete BEFORE DELETE ON lineage
WHEN EXISTS (SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
             WHERE file.id = OLD.product_id AND NOT state.makes_products)
BEGIN SELECT RAISE(ABORT, 'guard: a product has lineage'); END
-- end

-- What was listed stays on record; a manifest is withdrawn, once.
CREATE TRIGGER guard_manifest_update BEFORE UPDATE ON manifest
WHEN NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.sha256 <> OLD.sha256 OR NEW.night_id <> OLD.night_id
  OR (OLD.withdrawn_us IS NOT NULL AND NEW.withdrawn_us IS NOT OLD.withdrawn_us)
BEGIN SELECT RAISE(ABORT, 'guard: a manifest on record does not change'); END
-- end
CREATE TRIGGER guard_manifest_delete BEFORE DELETE ON manifest
BEGIN SELECT RAISE(ABORT, 'guard: a manifest on record does not change'); END
-- end
CREATE TRIGGER guard_manifest_line_update BEFORE UPDATE ON manifest_line
BEGIN SELECT RAISE(ABORT, 'guard: a manifest on record does not change'); END
-- end
CREATE TRIGGER guard_manifest_line_delete BEFORE DELETE ON manifest_line
BEGIN SELECT RAISE(ABORT, 'guard: a manifest on record does not change'); END
-- end

-- What was mailed stays on record; how it went is said once.
CREATE TRIGGER guard_mail_update BEFORE UPDATE ON mail
WHEN NEW.id <> OLD.id OR NEW.begun_us <> OLD.begun_us OR NEW.message_id <> OLD.message_id OR NEW.dates <> OLD.dates
  OR NEW.recipients <> OLD.recipients OR NEW.sha256 <> OLD.sha256 OR NEW.name <> OLD.name
  OR OLD.sent_us IS NOT NULL OR OLD.error IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'guard: a mail on record does not change'); END
-- end
CREATE TRIGGER guard_mail_delete BEFORE DELETE ON mail
BEGIN SELECT RAISE(ABORT, 'guard: a mail on record does not change'); END
-- end
CREATE TRIGGER guard_mail_line_update BEFORE UPDATE ON mail_line
WHEN NEW.mail_id <> OLD.mail_id OR NEW.position <> OLD.position OR NEW.frame_id <> OLD.frame_id
  OR NEW.identity <> OLD.identity OR NEW.path <> OLD.path OR NEW.size_bytes <> OLD.size_bytes
  OR OLD.withdrawn_us IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'guard: a mail on record does not change'); END
-- end
CREATE TRIGGER guard_mail_line_delete BEFORE DELETE ON mail_line
BEGIN SELECT RAISE(ABORT, 'guard: a mail on record does not change'); END
-- end

-- What the archive said stays on record; that it was withdrawn is said once.
CREATE TRIGGER guard_receipt_update BEFORE UPDATE ON receipt
BEGIN SELECT RAISE(ABORT, 'guard: a receipt on record does not change'); END
-- end
CREATE TRIGGER guard_receipt_delete BEFORE DELETE ON receipt
BEGIN SELECT RAISE(ABORT, 'guard: a receipt on record does not change'); END
-- end
CREATE TRIGGER guard_receipt_line_update BEFORE UPDATE ON receipt_line
WHEN NEW.receipt_id <> OLD.receipt_id OR NEW.frame_id <> OLD.frame_id OR NEW.identity <> OLD.identity
  OR NEW.size_bytes <> OLD.size_bytes OR NEW.sha256 IS NOT OLD.sha256 OR NEW.difference IS NOT OLD.difference
  OR OLD.withdrawn_us IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'guard: a receipt on record does not change'); END
-- end
CREATE TRIGGER guard_receipt_line_delete BEFORE DELETE ON receipt_line
BEGIN SELECT RAISE(ABORT, 'guard: a receipt on record does not change'); END
-- end

-- The counter skips ahead or gives back its own tail; it never meets a number that is taken.
CREATE TRIGGER guard_frame_sequence_update BEFORE UPDATE ON frame_sequence
WHEN EXISTS (SELECT 1 FROM frame_id WHERE prefix = NEW.prefix AND number >= NEW.next_number)
BEGIN SELECT RAISE(ABORT, 'guard: numbers at or above the counter are taken'); END
-- end
CREATE TRIGGER guard_frame_sequence_insert BEFORE INSERT ON frame_sequence
WHEN EXISTS (SELECT 1 FROM frame_id WHERE prefix = NEW.prefix AND number >= NEW.next_number)
BEGIN SELECT RAISE(ABORT, 'guard: numbers at or above the counter are taken'); END
-- end
CREATE TRIGGER guard_frame_sequence_delete BEFORE DELETE ON frame_sequence
WHEN EXISTS (SELECT 1 FROM frame_id WHERE prefix = OLD.prefix)
BEGIN SELECT RAISE(ABORT, 'guard: numbers of this counter are taken'); END
-- end

-- Blocks of numbers do not overlap; one that has yielded a number stays, and keeps it.
CREATE TRIGGER guard_frame_block_insert BEFORE INSERT ON frame_block
WHEN EXISTS (SELECT 1 FROM frame_block WHERE id = NEW.id
             OR (prefix = NEW.prefix AND first_number <= NEW.last_number AND last_number >= NEW.first_number))
BEGIN SELECT RAISE(ABORT, 'guard: blocks of frame numbers do not overlap'); END
-- end
CREATE TRIGGER guard_frame_block_update BEFORE UPDATE ON frame_block
WHEN NEW.id <> OLD.id OR NEW.prefix <> OLD.prefix OR NEW.first_number <> OLD.first_number
  OR NEW.authority <> OLD.authority OR NEW.last_number > OLD.last_number
  OR EXISTS (SELECT 1 FROM frame_id WHERE prefix = OLD.prefix
             AND number > NEW.last_number AND number <= OLD.last_number)
BEGIN SELECT RAISE(ABORT, 'guard: a block of frame numbers is only cut short, above the numbers that it gave'); END
-- end
CREATE TRIGGER guard_frame_block_delete BEFORE DELETE ON frame_block
WHEN EXISTS (SELECT 1 FROM frame_id WHERE prefix = OLD.prefix
             AND number BETWEEN OLD.first_number AND OLD.last_number)
BEGIN SELECT RAISE(ABORT, 'guard: numbers of this block are taken'); END
-- end

-- Which frames of which raw file are which frames of a product: a row for each run of them, in the order of the product.
-- Frame `n` of the product, counted from 0, lies in the row in which `first_frame` <= n < `first_frame` + `n_frames`; it
-- is frame `first_raw_frame` + (n - `first_frame`) * `step` of the raw file.
CREATE VIEW frame_run AS
SELECT night.pipeline, night.date, frame_id.frame_id, product.name AS product, raw.folder, raw.name AS raw_file,
       (SELECT COALESCE(SUM(earlier.n_frames), 0) FROM lineage AS earlier
        WHERE earlier.product_id = lineage.product_id AND earlier.position < lineage.position)
       + (SELECT COALESCE(SUM(before.value ->> 2), 0) FROM json_each(lineage.runs) AS before
          WHERE before.key < run.key) AS first_frame,
       run.value ->> 2 AS n_frames, run.value ->> 0 AS first_raw_frame, run.value ->> 1 AS step
FROM lineage
JOIN file AS product ON product.id = lineage.product_id
JOIN file AS raw ON raw.id = lineage.raw_id
JOIN night ON night.id = product.night_id
CROSS JOIN json_each(lineage.runs) AS run
LEFT JOIN frame_id ON frame_id.identity = product.identity AND frame_id.status = 'live'
-- end
