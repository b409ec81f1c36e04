-- law: no product is transferred or beyond without a proven copy of the same SHA-256
-- next: this is refused by the database; whoever changed it went around its guards
SELECT date, name, state, sha256 FROM unverified
