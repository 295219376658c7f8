-- What a processor notifies of a pay-in finds it by the names that the processor gives it.

-- +goose Up
-- The answer to the order of a pay-in by card (kind 10) writes both: the row is in this index once, and no other row is.
CREATE INDEX payments_rail ON payments.payments (connector, rail_reference) WHERE kind = 10 AND rail_reference <> '';

-- The number under which acquirer and card network know a transaction, where the acquirer's reference is another: what a
-- chargeback names. Only the answers that tell one are in the index.
ALTER TABLE payments.events ADD COLUMN rail_tid text NOT NULL DEFAULT '';
CREATE INDEX events_tid ON payments.events (connector, rail_tid) WHERE rail_tid <> '';

-- +goose Down
DROP INDEX payments.events_tid;
ALTER TABLE payments.events DROP COLUMN rail_tid;
DROP INDEX payments.payments_rail;
