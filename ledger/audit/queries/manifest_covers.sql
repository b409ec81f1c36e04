-- law: every manifested product is on a manifest that stands, with its true size
-- next: ledger rollback the night to transferred and advance it again
SELECT night.date, file.name, file.state
FROM file
JOIN night ON night.id = file.night_id
JOIN state ON state.pipeline = file.pipeline AND state.name = file.state
JOIN state AS listing ON listing.pipeline = file.pipeline AND listing.stage = 'manifested'
LEFT JOIN (SELECT manifest.night_id, manifest_line.identity, manifest_line.size_bytes
           FROM manifest_line
           JOIN manifest ON manifest.id = manifest_line.manifest_id
           WHERE manifest.withdrawn_us IS NULL) AS listed
  ON listed.night_id = file.night_id AND listed.identity = file.identity AND listed.size_bytes = file.size_bytes
WHERE file.kind = 'product' AND state.position >= listing.position AND listed.identity IS NULL
