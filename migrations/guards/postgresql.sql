-- Guards: what the database itself refuses. Statements end with a line of their own: `-- end`.
-- The same laws as sqlite.sql; PostgreSQL has no INSERT OR REPLACE, and its upserts fire the update guards.
-- A function keeps the plans of its queries: made while tables are small, they would scan all of one that has grown.

-- The ledger is append-only, and a proof is not deleted.
CREATE FUNCTION guard_append_only() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
    RAISE EXCEPTION 'guard: % is append-only', TG_TABLE_NAME;
END $guard$
-- end
CREATE TRIGGER guard_entry BEFORE UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_entry_truncate BEFORE TRUNCATE ON entry EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_copy_delete BEFORE DELETE ON copy FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_copy_truncate BEFORE TRUNCATE ON copy EXECUTE FUNCTION guard_append_only()
-- end

-- A file is born raw, or as a product in the state that makes products.
-- No state changes without its entry. The entry comes first, and is the newest that tells of a state of this file: from
-- which, and to which. So it cannot vouch for another change. `+ 0` leaves only the index of identities to be used:
-- without statistics, as a new ledger has none, others look as good.
CREATE FUNCTION guard_file_insert() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state
                   AND CASE NEW.kind WHEN 'raw' THEN position = 0 ELSE makes_products END) THEN
        RAISE EXCEPTION 'guard: a file is born raw, or as a product where products are made';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM (SELECT source, destination FROM entry
                                  WHERE identity = NEW.identity AND night_id + 0 = NEW.night_id
                                    AND (event = 'done' OR destination IS NOT NULL)
                                  ORDER BY id + 0 DESC LIMIT 1) AS newest
                   WHERE source IS NULL AND destination = NEW.state) THEN
        RAISE EXCEPTION 'guard: no state changes without its entry: a file is born';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_file_insert BEFORE INSERT ON file FOR EACH ROW EXECUTE FUNCTION guard_file_insert()
-- end

-- Identity stays; state changes follow declared edges, and evidence comes first.
CREATE FUNCTION guard_file_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.id <> OLD.id OR NEW.night_id <> OLD.night_id OR NEW.pipeline <> OLD.pipeline OR NEW.kind <> OLD.kind
       OR (NEW.identity <> OLD.identity AND (OLD.kind = 'product' OR OLD.state <> (
           SELECT name FROM state WHERE pipeline = OLD.pipeline AND position = 0))) THEN
        RAISE EXCEPTION 'guard: the identity of a file does not change';
    END IF;
    IF NEW.state <> OLD.state THEN
        IF NOT EXISTS (SELECT 1 FROM edge WHERE pipeline = NEW.pipeline AND kind = NEW.kind
                       AND source = OLD.state AND destination = NEW.state) THEN
            RAISE EXCEPTION 'guard: no declared edge leads there';
        END IF;
        IF OLD.quarantine_reason IS NOT NULL AND NEW.quarantine_reason IS NOT NULL
           AND EXISTS (SELECT 1 FROM edge WHERE pipeline = NEW.pipeline AND kind = NEW.kind
                       AND source = OLD.state AND destination = NEW.state AND direction = 'forward') THEN
            RAISE EXCEPTION 'guard: a quarantined file does not move';
        END IF;
        IF NEW.kind = 'product' AND NOT EXISTS (SELECT 1 FROM lineage WHERE product_id = NEW.id) THEN
            RAISE EXCEPTION 'guard: a product has lineage';
        END IF;
    END IF;
    IF NEW.kind = 'product' AND (NEW.state <> OLD.state OR NEW.sha256 IS DISTINCT FROM OLD.sha256) THEN
        IF EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state AND needs_frame_id)
           AND NOT EXISTS (SELECT 1 FROM frame_id WHERE identity = NEW.identity AND status = 'live') THEN
            RAISE EXCEPTION 'guard: no live frame ID belongs to this product';
        END IF;
        IF EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state AND needs_copy)
           AND NOT EXISTS (SELECT 1 FROM copy WHERE identity = NEW.identity AND night_id = NEW.night_id
                           AND sha256 = NEW.sha256 AND withdrawn_us IS NULL
                           AND (refuted_us IS NULL OR NOT EXISTS (
                               SELECT 1 FROM edge WHERE pipeline = NEW.pipeline AND kind = NEW.kind
                               AND source = OLD.state AND destination = NEW.state AND direction = 'forward'))) THEN
            RAISE EXCEPTION 'guard: no proven copy has this SHA-256';
        END IF;
    END IF;
    IF NEW.state <> OLD.state
       AND NOT EXISTS (SELECT 1 FROM (SELECT source, destination FROM entry
                                      WHERE identity = NEW.identity AND night_id + 0 = NEW.night_id
                                        AND (event = 'done' OR destination IS NOT NULL)
                                      ORDER BY id + 0 DESC LIMIT 1) AS newest
                       WHERE source = OLD.state AND destination = NEW.state) THEN
        RAISE EXCEPTION 'guard: no state changes without its entry';
    END IF;
    -- A raw file that changed before anything was made of it is born anew, in the row that it has.
    IF NEW.identity <> OLD.identity
       AND NOT EXISTS (SELECT 1 FROM (SELECT id, source, destination FROM entry
                                      WHERE identity = NEW.identity AND night_id + 0 = NEW.night_id
                                        AND (event = 'done' OR destination IS NOT NULL)
                                      ORDER BY id + 0 DESC LIMIT 1) AS born
                       WHERE source IS NULL AND destination = NEW.state
                         AND NOT EXISTS (SELECT 1 FROM entry
                                         WHERE identity = OLD.identity AND night_id + 0 = OLD.night_id
                                           AND destination IS NOT NULL AND name = OLD.folder || '/' || OLD.name
                                           AND id + 0 > born.id)) THEN
        RAISE EXCEPTION 'guard: no state changes without its entry: a raw file is registered anew';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_file_update BEFORE UPDATE ON file FOR EACH ROW EXECUTE FUNCTION guard_file_update()
-- end
-- What is removed on purpose is in the archive: each product of it is where a proven copy is needed, and has one.
CREATE FUNCTION guard_file_pruned() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.pruned_us IS NULL THEN
        RETURN NEW;
    END IF;
    IF NEW.quarantine_reason IS NOT NULL
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
                          AND night_id = made.night_id AND withdrawn_us IS NULL AND refuted_us IS NULL))))) THEN
        RAISE EXCEPTION 'guard: only what is in the archive is pruned';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_file_pruned BEFORE UPDATE OF pruned_us ON file FOR EACH ROW EXECUTE FUNCTION guard_file_pruned()
-- end
CREATE FUNCTION guard_file_pruned_state() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.state <> OLD.state AND NEW.pruned_us IS NOT NULL AND (
        NEW.kind = 'raw' OR NOT EXISTS (SELECT 1 FROM state WHERE pipeline = NEW.pipeline AND name = NEW.state
                                        AND needs_copy)) THEN
        RAISE EXCEPTION 'guard: a pruned file does not go back';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_file_pruned_state BEFORE UPDATE OF state ON file
FOR EACH ROW EXECUTE FUNCTION guard_file_pruned_state()
-- end
CREATE FUNCTION guard_file_delete() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM state WHERE pipeline = OLD.pipeline AND name = OLD.state
                   AND CASE OLD.kind WHEN 'raw' THEN position = 0 ELSE makes_products END) THEN
        RAISE EXCEPTION 'guard: a row goes only from the state that it was born in';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM (SELECT source, destination FROM entry
                                  WHERE identity = OLD.identity AND night_id + 0 = OLD.night_id
                                    AND (event = 'done' OR destination IS NOT NULL)
                                  ORDER BY id + 0 DESC LIMIT 1) AS newest
                   WHERE source = OLD.state AND destination IS NULL) THEN
        RAISE EXCEPTION 'guard: no state changes without its entry: a row goes';
    END IF;
    RETURN OLD;
END $guard$
-- end
CREATE TRIGGER guard_file_delete BEFORE DELETE ON file FOR EACH ROW EXECUTE FUNCTION guard_file_delete()
-- end

-- A frame ID in use is not taken away or given to another product.
CREATE FUNCTION guard_frame_id_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.frame_id <> OLD.frame_id OR NEW.prefix <> OLD.prefix OR NEW.number <> OLD.number
       OR NEW.identity <> OLD.identity OR NEW.night_id <> OLD.night_id OR NEW.start_us <> OLD.start_us
       OR NEW.camera <> OLD.camera OR NEW.flc IS DISTINCT FROM OLD.flc OR NEW.late <> OLD.late
       OR NEW.late_reason IS DISTINCT FROM OLD.late_reason
       OR (OLD.status <> 'live' AND NEW.status = 'live') THEN
        RAISE EXCEPTION 'guard: a frame ID does not change its product, number, time or lateness';
    END IF;
    IF NEW.status <> 'live' AND EXISTS (
        SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
        WHERE file.identity = OLD.identity AND file.night_id = OLD.night_id
          AND file.kind = 'product' AND state.needs_frame_id) THEN
        RAISE EXCEPTION 'guard: this frame ID is in use';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_frame_id_update BEFORE UPDATE ON frame_id FOR EACH ROW EXECUTE FUNCTION guard_frame_id_update()
-- end
-- Once a statement: a night has up to 100 000 of them.
CREATE FUNCTION guard_frame_id_insert() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_sort = off AS $guard$
DECLARE
    part RECORD;
BEGIN
    IF EXISTS (SELECT 1 FROM fresh WHERE late <> (late_reason IS NOT NULL)) THEN
        RAISE EXCEPTION 'guard: a late frame ID, and no other, has a reason';
    END IF;
    FOR part IN SELECT prefix, MIN(number) AS first, COUNT(*) AS n FROM fresh GROUP BY prefix LOOP
        IF (SELECT COUNT(*) FROM frame_id WHERE prefix = part.prefix AND number >= part.first) <> part.n THEN
            RAISE EXCEPTION 'guard: frame numbers only grow';
        END IF;
        IF EXISTS (
            SELECT 1
            FROM (SELECT start_us, camera, COALESCE(flc, '') AS flc, LAG(start_us) OVER w AS last_start_us,
                         LAG(camera) OVER w AS last_camera, LAG(COALESCE(flc, '')) OVER w AS last_flc
                  FROM frame_id
                  WHERE prefix = part.prefix AND status = 'live' AND NOT late
                    AND number >= COALESCE((SELECT number FROM frame_id
                                            WHERE prefix = part.prefix AND status = 'live' AND NOT late
                                              AND number < part.first
                                            ORDER BY number DESC LIMIT 1), 0)
                  WINDOW w AS (ORDER BY number)) AS in_row
            WHERE (last_start_us, last_camera, last_flc) > (start_us, camera, flc)) THEN
            RAISE EXCEPTION 'guard: frame IDs are in order of time';
        END IF;
    END LOOP;
    RETURN NULL;
END $guard$
-- end
CREATE TRIGGER guard_frame_id_insert AFTER INSERT ON frame_id REFERENCING NEW TABLE AS fresh
FOR EACH STATEMENT EXECUTE FUNCTION guard_frame_id_insert()
-- end
CREATE FUNCTION guard_frame_id_delete() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF OLD.status = 'live' OR EXISTS (SELECT 1 FROM manifest_line WHERE frame_id = OLD.frame_id)
       OR EXISTS (SELECT 1 FROM mail_line WHERE frame_id = OLD.frame_id) THEN
        RAISE EXCEPTION 'guard: only a withdrawn, never manifested frame ID is reclaimed';
    END IF;
    RETURN OLD;
END $guard$
-- end
CREATE TRIGGER guard_frame_id_delete BEFORE DELETE ON frame_id FOR EACH ROW EXECUTE FUNCTION guard_frame_id_delete()
-- end

-- A proof is not rewritten, and not withdrawn under a state that stands on it; once refuted, it stays so.
CREATE FUNCTION guard_copy_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.id <> OLD.id OR NEW.identity <> OLD.identity OR NEW.sha256 <> OLD.sha256 OR NEW.path <> OLD.path
       OR NEW.host <> OLD.host OR NEW.size_bytes <> OLD.size_bytes OR NEW.night_id <> OLD.night_id
       OR NEW.proven_us <> OLD.proven_us
       OR (OLD.withdrawn_us IS NOT NULL AND NEW.withdrawn_us IS DISTINCT FROM OLD.withdrawn_us)
       OR (OLD.refuted_us IS NOT NULL
           AND (NEW.refuted_us IS DISTINCT FROM OLD.refuted_us OR NEW.fault IS DISTINCT FROM OLD.fault)) THEN
        RAISE EXCEPTION 'guard: a proof is not rewritten';
    END IF;
    IF NEW.withdrawn_us IS NOT NULL AND EXISTS (
        SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
        WHERE file.identity = OLD.identity AND file.night_id = OLD.night_id AND state.needs_copy)
       AND NOT EXISTS (SELECT 1 FROM copy WHERE identity = OLD.identity AND night_id = OLD.night_id
                       AND sha256 = OLD.sha256 AND withdrawn_us IS NULL AND id <> OLD.id) THEN
        RAISE EXCEPTION 'guard: a state stands on this proof';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_copy_update BEFORE UPDATE ON copy FOR EACH ROW EXECUTE FUNCTION guard_copy_update()
-- end

-- Lineage is written where products are made, and goes there.
CREATE FUNCTION guard_lineage() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
                   WHERE file.id = OLD.product_id AND NOT state.makes_products) THEN
            RAISE EXCEPTION 'guard: a product has lineage';
        END IF;
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' OR NOT EXISTS (
        SELECT 1 FROM file JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
        WHERE file.id = NEW.product_id AND state.makes_products) THEN
        RAISE EXCEPTION 'guard: lineage is written once, where products are made';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_lineage BEFORE INSERT OR UPDATE OR DELETE ON lineage
FOR EACH ROW EXECUTE FUNCTION guard_lineage()
-- end

-- What was listed stays on record; a manifest is withdrawn, once. No table of evidence is emptied.
CREATE FUNCTION guard_manifest_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.sha256 <> OLD.sha256 OR NEW.night_id <> OLD.night_id
       OR (OLD.withdrawn_us IS NOT NULL AND NEW.withdrawn_us IS DISTINCT FROM OLD.withdrawn_us) THEN
        RAISE EXCEPTION 'guard: a manifest on record does not change';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_manifest_update BEFORE UPDATE ON manifest FOR EACH ROW EXECUTE FUNCTION guard_manifest_update()
-- end
CREATE TRIGGER guard_manifest_delete BEFORE DELETE ON manifest FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_manifest_line BEFORE UPDATE OR DELETE ON manifest_line
FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_file_truncate BEFORE TRUNCATE ON file EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_frame_id_truncate BEFORE TRUNCATE ON frame_id EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_lineage_truncate BEFORE TRUNCATE ON lineage EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_manifest_line_truncate BEFORE TRUNCATE ON manifest_line EXECUTE FUNCTION guard_append_only()
-- end

-- What was mailed stays on record; how it went is said once.
CREATE FUNCTION guard_mail_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.id <> OLD.id OR NEW.begun_us <> OLD.begun_us OR NEW.message_id <> OLD.message_id
       OR NEW.dates::text <> OLD.dates::text OR NEW.recipients::text <> OLD.recipients::text
       OR NEW.sha256 <> OLD.sha256 OR NEW.name <> OLD.name
       OR OLD.sent_us IS NOT NULL OR OLD.error IS NOT NULL THEN
        RAISE EXCEPTION 'guard: a mail on record does not change';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_mail_update BEFORE UPDATE ON mail FOR EACH ROW EXECUTE FUNCTION guard_mail_update()
-- end
CREATE TRIGGER guard_mail_delete BEFORE DELETE ON mail FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE FUNCTION guard_mail_line_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.mail_id <> OLD.mail_id OR NEW.position <> OLD.position OR NEW.frame_id <> OLD.frame_id
       OR NEW.identity <> OLD.identity OR NEW.path <> OLD.path OR NEW.size_bytes <> OLD.size_bytes
       OR OLD.withdrawn_us IS NOT NULL THEN
        RAISE EXCEPTION 'guard: a mail on record does not change';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_mail_line_update BEFORE UPDATE ON mail_line
FOR EACH ROW EXECUTE FUNCTION guard_mail_line_update()
-- end
CREATE TRIGGER guard_mail_line_delete BEFORE DELETE ON mail_line FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_mail_line_truncate BEFORE TRUNCATE ON mail_line EXECUTE FUNCTION guard_append_only()
-- end

-- What the archive said stays on record; that it was withdrawn is said once.
CREATE TRIGGER guard_receipt BEFORE UPDATE OR DELETE ON receipt FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE FUNCTION guard_receipt_line_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF NEW.receipt_id <> OLD.receipt_id OR NEW.frame_id <> OLD.frame_id OR NEW.identity <> OLD.identity
       OR NEW.size_bytes <> OLD.size_bytes OR NEW.sha256 IS DISTINCT FROM OLD.sha256
       OR NEW.difference IS DISTINCT FROM OLD.difference OR OLD.withdrawn_us IS NOT NULL THEN
        RAISE EXCEPTION 'guard: a receipt on record does not change';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_receipt_line_update BEFORE UPDATE ON receipt_line
FOR EACH ROW EXECUTE FUNCTION guard_receipt_line_update()
-- end
CREATE TRIGGER guard_receipt_line_delete BEFORE DELETE ON receipt_line
FOR EACH ROW EXECUTE FUNCTION guard_append_only()
-- end
CREATE TRIGGER guard_receipt_line_truncate BEFORE TRUNCATE ON receipt_line EXECUTE FUNCTION guard_append_only()
-- end

-- The counter skips ahead or gives back its own tail; it never meets a number that is taken.
CREATE FUNCTION guard_frame_sequence_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF EXISTS (SELECT 1 FROM frame_id WHERE prefix = NEW.prefix AND number >= NEW.next_number) THEN
        RAISE EXCEPTION 'guard: numbers at or above the counter are taken';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_frame_sequence_update BEFORE INSERT OR UPDATE ON frame_sequence
FOR EACH ROW EXECUTE FUNCTION guard_frame_sequence_update()
-- end
CREATE FUNCTION guard_frame_sequence_delete() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF EXISTS (SELECT 1 FROM frame_id WHERE prefix = OLD.prefix) THEN
        RAISE EXCEPTION 'guard: numbers of this counter are taken';
    END IF;
    RETURN OLD;
END $guard$
-- end
CREATE TRIGGER guard_frame_sequence_delete BEFORE DELETE ON frame_sequence
FOR EACH ROW EXECUTE FUNCTION guard_frame_sequence_delete()
-- end

-- Blocks of numbers do not overlap; one that has yielded a number stays, and keeps it.
CREATE FUNCTION guard_frame_block() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $guard$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT 1 FROM frame_id WHERE prefix = OLD.prefix
                   AND number BETWEEN OLD.first_number AND OLD.last_number) THEN
            RAISE EXCEPTION 'guard: numbers of this block are taken';
        END IF;
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.id <> OLD.id OR NEW.prefix <> OLD.prefix OR NEW.first_number <> OLD.first_number
           OR NEW.authority <> OLD.authority OR NEW.last_number > OLD.last_number
           OR EXISTS (SELECT 1 FROM frame_id WHERE prefix = OLD.prefix
                      AND number > NEW.last_number AND number <= OLD.last_number) THEN
            RAISE EXCEPTION 'guard: a block of frame numbers is only cut short, above the numbers that it gave';
        END IF;
        RETURN NEW;
    END IF;
    IF EXISTS (SELECT 1 FROM frame_block WHERE prefix = NEW.prefix
               AND first_number <= NEW.last_number AND last_number >= NEW.first_number) THEN
        RAISE EXCEPTION 'guard: blocks of frame numbers do not overlap';
    END IF;
    RETURN NEW;
END $guard$
-- end
CREATE TRIGGER guard_frame_block BEFORE INSERT OR UPDATE OR DELETE ON frame_block
FOR EACH ROW EXECUTE FUNCTION guard_frame_block()
-- end

-- Which frames of which raw file are which frames of a product: a row for each run of them, in the order of the product.
-- Frame `n` of the product, counted from 0, lies in the row in which `first_frame` <= n < `first_frame` + `n_frames`; it
-- is frame `first_raw_frame` + (n - `first_frame`) * `step` of the raw file.
CREATE VIEW frame_run AS
SELECT night.pipeline, night.date, frame_id.frame_id, product.name AS product, raw.folder, raw.name AS raw_file,
       CAST((SELECT COALESCE(SUM(earlier.n_frames), 0) FROM lineage AS earlier
             WHERE earlier.product_id = lineage.product_id AND earlier.position < lineage.position)
            + (SELECT COALESCE(SUM(CAST(before.value ->> 2 AS bigint)), 0)
               FROM json_array_elements(lineage.runs) WITH ORDINALITY AS before(value, key)
               WHERE before.key < run.key) AS bigint) AS first_frame,
       CAST(run.value ->> 2 AS bigint) AS n_frames, CAST(run.value ->> 0 AS bigint) AS first_raw_frame, CAST(run.value ->> 1 AS bigint) AS step
FROM lineage
JOIN file AS product ON product.id = lineage.product_id
JOIN file AS raw ON raw.id = lineage.raw_id
JOIN night ON night.id = product.night_id
CROSS JOIN json_array_elements(lineage.runs) WITH ORDINALITY AS run(value, key)
LEFT JOIN frame_id ON frame_id.identity = product.identity AND frame_id.status = 'live'
-- end
