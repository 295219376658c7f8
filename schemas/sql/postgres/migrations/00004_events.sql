-- What became of a payment, decision by decision: GET /payments/{id}/timeline reads it.

-- +goose Up
-- payments.events: one row per decision that names a payment. The one that makes a payment and ends it at once (succeeded or
-- failed, as nearly all by book and cash) has none: the payment's own row tells all of it. docs/stores.md has the rules.
CREATE TABLE payments.events (
    payment_id        text COLLATE "C" NOT NULL, -- of an operation's decision: the payment that it is about
    decided_month     date        NOT NULL,      -- of accepted_at
    accepted_at       timestamptz NOT NULL,
    written_at        timestamptz NOT NULL,      -- the decision's own record: when it was decided
    account_seq       bigint      NOT NULL,
    log_offset        bigint      NOT NULL,
    command_offset    bigint      NOT NULL,
    amount_minor      bigint      NOT NULL,      -- in currency
    rail_amount_minor bigint      NOT NULL,      -- as the rail says; 0: not told
    log_partition     integer     NOT NULL,
    command_partition integer     NOT NULL,
    kind              smallint    NOT NULL,
    outcome           smallint    NOT NULL,
    status            smallint    NOT NULL,      -- of operation_id, else of the payment
    payment_status    smallint    NOT NULL,      -- of the payment; 0: not told
    rail_result       smallint    NOT NULL,
    currency          text        NOT NULL,
    operation_id      text COLLATE "C" NOT NULL, -- capture, void, increment or refund; empty: the payment itself
    other_account     text COLLATE "C" NOT NULL, -- where another than the payment's decided: the payee of a transfer
    order_id          text        NOT NULL,      -- answered
    given_order_id    text        NOT NULL,      -- given by this decision
    connector         text        NOT NULL,
    rail_reference    text        NOT NULL,
    rail_code         text        NOT NULL,
    reasons           smallint[]  NOT NULL
) PARTITION BY RANGE (decided_month);
CREATE TABLE payments.events_default PARTITION OF payments.events DEFAULT;
-- The only index, and no unique one: the offsets say that a row is new, and a key with its place in it costs twice as much.
CREATE INDEX events_payment ON payments.events (payment_id);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON payments.events FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();

-- Where the decision that made the payment stands, and its command. None: written before there were events.
ALTER TABLE payments.payments
    ADD COLUMN created_offset     bigint,
    ADD COLUMN created_written_at timestamptz,
    ADD COLUMN command_offset     bigint,
    ADD COLUMN command_partition  integer;

-- Decisions before this offset left no events: they came before there were any.
ALTER TABLE sink.offsets ADD COLUMN events_from bigint NOT NULL DEFAULT 0;
UPDATE sink.offsets SET events_from = next_offset;

-- +goose Down
ALTER TABLE sink.offsets DROP COLUMN events_from;
ALTER TABLE payments.payments DROP COLUMN created_offset, DROP COLUMN created_written_at, DROP COLUMN command_offset, DROP COLUMN command_partition;
DROP TABLE payments.events;
