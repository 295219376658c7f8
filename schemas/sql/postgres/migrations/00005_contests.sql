-- Quotes, disputes and issued cards.

-- +goose Up
ALTER TABLE payments.payments
    ADD COLUMN quote         text NOT NULL DEFAULT '', -- that the payment has used
    ADD COLUMN card          text NOT NULL DEFAULT '', -- of authorizations and clearings, as the next four
    ADD COLUMN mcc           text NOT NULL DEFAULT '',
    ADD COLUMN acquirer      text NOT NULL DEFAULT '',
    ADD COLUMN card_acceptor text NOT NULL DEFAULT '',
    ADD COLUMN rrn           text NOT NULL DEFAULT '',
    ADD COLUMN reason_code   text NOT NULL DEFAULT ''; -- of disputes: the card network's; of authorizations: why they were reversed
COMMENT ON COLUMN payments.payments.deadline_at IS
    'in_review, requires_capture, partially_captured: when it expires; created, of a quote: the same; of an open dispute: until when evidence is taken';
COMMENT ON COLUMN payments.payments.fee_minor IS 'as decided, in currency; of a capture: as confirmed; of a dispute: what stands charged, in target_currency';
COMMENT ON COLUMN payments.payments.related_payment_id IS 'of an operation, a clearing, a dispute: the payment it is about; of a quote: the payment that has used it';
-- A merchant's disputes are listed by age. No other row is in this index.
CREATE INDEX payments_disputes ON payments.payments (tenant, merchant, created_at, payment_id) WHERE kind = 70;

-- payments.evidence: the files that a merchant has named, in the order of the log.
CREATE TABLE payments.evidence (
    dispute_id    text COLLATE "C" NOT NULL,
    told_at       timestamptz NOT NULL, -- accepted_at of the decision
    log_offset    bigint      NOT NULL,
    log_partition integer     NOT NULL,
    line          smallint    NOT NULL, -- 0, 1, 2 ... within the decision
    reference     text        NOT NULL,
    sha256        text        NOT NULL, -- hexadecimal
    kind          text        NOT NULL,
    PRIMARY KEY (dispute_id, log_partition, log_offset, line)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON payments.evidence FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();

-- accounts.cards: the cards that accounts pay with, as they are now. card_seq counts the decisions on the card's own key.
CREATE TABLE accounts.cards (
    card      text COLLATE "C" PRIMARY KEY,
    account   text COLLATE "C" NOT NULL,
    tenant    text        NOT NULL,
    merchant  text        NOT NULL,
    card_seq  bigint      NOT NULL, -- of the decision that set the present state
    issued_at timestamptz NOT NULL,
    status    smallint    NOT NULL,
    expiry    integer     NOT NULL, -- YYMM
    first6    text        NOT NULL, -- of the card number
    last4     text        NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX cards_account ON accounts.cards (account);

INSERT INTO payments.words (enumeration, number, word) VALUES
    ('kind', 3, 'issue_card'), ('kind', 4, 'set_card_status'), ('kind', 17, 'fx_quote'), ('kind', 60, 'authorization'),
    ('kind', 61, 'authorization_advice'), ('kind', 62, 'reversal'), ('kind', 63, 'clearing'), ('kind', 70, 'dispute'),
    ('kind', 71, 'dispute_evidence'), ('kind', 72, 'dispute_accept'),
    ('status', 17, 'pre_dispute'), ('status', 18, 'dispute'), ('status', 19, 'pre_arbitration'), ('status', 20, 'won'), ('status', 21, 'lost'),
    ('reason', 16, 'card_taken'), ('reason', 17, 'card_blocked'), ('reason', 42, 'quote_unknown'), ('reason', 43, 'quote_expired'),
    ('reason', 44, 'quote_used'), ('reason', 45, 'quote_mismatch'), ('reason', 97, 'deadline_passed'),
    ('journal', 1, 'hold'), ('journal', 2, 'post'), ('journal', 3, 'release'), ('journal', 4, 'compensation'), ('journal', 5, 'refund'),
    ('journal', 6, 'return'), ('journal', 7, 'late'), ('journal', 8, 'dispute'),
    ('card_status', 1, 'active'), ('card_status', 2, 'blocked'), ('card_status', 3, 'closed')
ON CONFLICT (enumeration, number) DO UPDATE SET word = EXCLUDED.word;

CREATE OR REPLACE VIEW payments.listing AS
SELECT p.payment_id, k.word AS kind, o.word AS outcome, s.word AS status,
       ARRAY(SELECT w.word FROM unnest(p.reasons) WITH ORDINALITY r(number, n)
             JOIN payments.words w ON w.enumeration = 'reason' AND w.number = r.number ORDER BY r.n) AS reasons,
       p.tenant, p.merchant, p.customer, p.account, p.to_account, p.amount_minor, p.currency, p.target_amount_minor,
       p.target_currency, p.fee_minor, p.fx_rate, p.refunded_minor, p.method, p.fraud_score, p.related_payment_id,
       p.effective_date, p.created_at, p.decided_at, p.account_seq,
       p.captured_minor, p.authorized_minor, p.connector, p.rail_reference, p.deadline_at,
       p.quote, p.card, p.mcc, p.acquirer, p.card_acceptor, p.rrn, p.reason_code
FROM payments.payments p
LEFT JOIN payments.words k ON k.enumeration = 'kind' AND k.number = p.kind
LEFT JOIN payments.words o ON o.enumeration = 'outcome' AND o.number = p.outcome
LEFT JOIN payments.words s ON s.enumeration = 'status' AND s.number = p.status;

-- payments.disputes reads the disputes out, for people.
CREATE VIEW payments.disputes AS
SELECT p.payment_id AS dispute_id, s.word AS status, p.related_payment_id AS payment_id, p.tenant, p.merchant, p.account, p.amount_minor, p.currency,
       p.target_amount_minor, p.target_currency, p.fee_minor, p.reason_code, p.connector, p.rail_reference AS reference, p.deadline_at AS evidence_until,
       (SELECT count(*) FROM payments.evidence e WHERE e.dispute_id = p.payment_id AND e.told_at >= p.created_at) AS files, p.created_at, p.decided_at
FROM payments.payments p
LEFT JOIN payments.words s ON s.enumeration = 'status' AND s.number = p.status
WHERE p.kind = 70;

-- accounts.card_listing reads the cards out.
CREATE VIEW accounts.card_listing AS
SELECT c.card, s.word AS status, c.account, c.tenant, c.merchant, c.first6, c.last4, c.expiry, c.issued_at
FROM accounts.cards c
LEFT JOIN payments.words s ON s.enumeration = 'card_status' AND s.number = c.status;

-- +goose Down
DROP VIEW accounts.card_listing;
DROP VIEW payments.disputes;
DROP TABLE accounts.cards;
DROP TABLE payments.evidence;
DROP INDEX payments.payments_disputes;
DELETE FROM payments.words WHERE enumeration IN ('journal', 'card_status') OR enumeration = 'kind' AND number IN (3, 4, 17, 60, 61, 62, 63, 70, 71, 72)
    OR enumeration = 'status' AND number > 16 OR enumeration = 'reason' AND number IN (16, 17, 42, 43, 44, 45, 97);
DROP VIEW payments.listing;
ALTER TABLE payments.payments DROP COLUMN quote, DROP COLUMN card, DROP COLUMN mcc, DROP COLUMN acquirer, DROP COLUMN card_acceptor,
    DROP COLUMN rrn, DROP COLUMN reason_code;
CREATE VIEW payments.listing AS
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
