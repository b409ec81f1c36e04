-- law: no product is identified or beyond without a live frame ID
-- next: this is refused by the database; whoever changed it went around its guards
SELECT date, name, state FROM id_of_product WHERE frame_id IS NULL
