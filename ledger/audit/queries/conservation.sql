-- law: every frame of a synced raw file is in a product, or counted lost
-- next: ledger rollback the night to raw and advance it again; if the row stays, this is a bug
SELECT date, folder, name, n_frames, lost_frames, in_products, unaccounted
FROM frame_balance
WHERE quarantine_reason IS NULL
  AND unaccounted <> 0
  AND state <> (SELECT state.name FROM state WHERE state.pipeline = frame_balance.pipeline AND state.position = 0)
