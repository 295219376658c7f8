-- What a rail grants, takes and names. A payment that no rail executes has nothing of it.

-- +goose Up
ALTER TABLE payments.payments
    ADD COLUMN captured_minor   bigint NOT NULL DEFAULT 0, -- of a pay-in by a rail: so far, in currency
    ADD COLUMN authorized_minor bigint NOT NULL DEFAULT 0, -- the same, of what the rail has granted
    ADD COLUMN connector        text   NOT NULL DEFAULT '', -- who executed the order
    ADD COLUMN rail_reference   text   NOT NULL DEFAULT ''; -- the rail's own id of what it did
COMMENT ON COLUMN payments.payments.deadline_at IS 'in_review, requires_capture, partially_captured: when it expires';
COMMENT ON COLUMN payments.payments.fee_minor IS 'as decided, in currency; of a capture: as confirmed';

CREATE OR REPLACE VIEW payments.listing AS
SELECT p.payment_id, k.word AS kind, o.word AS outcome, s.word AS status,
       ARRAY(SELECT w.word FROM unnest(p.reasons) WITH ORDINALITY r(number, n)
             JOIN payments.words w ON w.enumeration = 'reason' AND w.number = r.number ORDER BY r.n) AS reasons,
       p.tenant, p.merchant, p.customer, p.account, p.to_account, p.amount_minor, p.currency, p.target_amount_minor,
       p.target_currency, p.fee_minor, p.fx_rate, p.refunded_minor, p.method, p.fraud_score, p.related_payment_id,
       p.effective_date, p.created_at, p.decided_at, p.account_seq,
       p.captured_minor, p.authorized_minor, p.connector, p.rail_reference, p.deadline_at
FROM payments.payments p
LEFT JOIN payments.words k ON k.enumeration = 'kind' AND k.number = p.kind
LEFT JOIN payments.words o ON o.enumeration = 'outcome' AND o.number = p.outcome
LEFT JOIN payments.words s ON s.enumeration = 'status' AND s.number = p.status;

-- +goose Down
DROP VIEW payments.listing;
ALTER TABLE payments.payments DROP COLUMN captured_minor, DROP COLUMN authorized_minor, DROP COLUMN connector, DROP COLUMN rail_reference;
CREATE VIEW payments.listing AS
SELECT p.payment_id, k.word AS kind, o.word AS outcome, s.word AS status,
       ARRAY(SELECT w.word FROM unnest(p.reasons) WITH ORDINALITY r(number, n)
             JOIN payments.words w ON w.enumeration = 'reason' AND w.number = r.number ORDER BY r.n) AS reasons,
       p.tenant, p.merchant, p.customer, p.account, p.to_account, p.amount_minor, p.currency, p.target_amount_minor,
       p.target_currency, p.fee_minor, p.fx_rate, p.refunded_minor, p.method, p.fraud_score, p.related_payment_id,
       p.effective_date, p.created_at, p.decided_at, p.account_seq
FROM payments.payments p
LEFT JOIN payments.words k ON k.enumeration = 'kind' AND k.number = p.kind
LEFT JOIN payments.words o ON o.enumeration = 'outcome' AND o.number = p.outcome
LEFT JOIN payments.words s ON s.enumeration = 'status' AND s.number = p.status;
