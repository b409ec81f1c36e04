-- law: no product is transferred or beyond without a proof of its copy that stands
-- next: `ledger verify --date` of the night with `--repair` proves it again, or copies it; without a fault somebody went around the database's guards
SELECT date, name, state, sha256, fault FROM unverified
