-- law: nothing is made of a raw file in quarantine
-- next: ledger rollback the night to raw and advance it again
SELECT date, folder, name, quarantine_reason, in_products
FROM frame_balance
WHERE quarantine_reason IS NOT NULL AND in_products > 0
