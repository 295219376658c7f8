-- What waits at a step of its saga can be counted without reading all payments.

-- +goose Up
-- Only payments that wait are in it, so what is final when it is written, nearly all by book and cash, costs it nothing. What it
-- costs the others, and what a count costs with and without it: docs/stores.md. A quote waits for nobody (kind 17). The statuses are
-- those in which a step can be stuck, as words in payments.words; a test holds them against the table of sagas.
CREATE INDEX payments_waiting ON payments.payments (kind, status, decided_at, deadline_at)
    WHERE status IN (1, 2, 8, 9, 10, 12, 13, 14, 17, 18, 19) AND kind <> 17;

-- +goose Down
DROP INDEX payments.payments_waiting;
