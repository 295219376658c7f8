-- The stores of Postgres, rebuilt from payments.decisions.v1 at any time. Rows of one batch and the offsets reached
-- are written in one transaction.
--
-- Enumerations are the numbers of schemas/payments/v1 (smallint: a word costs ten times the bytes on the dearest step);
-- the tables payments.words and the views read them out. Ids are COLLATE "C": bytes, not language.
-- Money is bigint minor units beside its currency. Times are UTC.

-- +goose Up
CREATE SCHEMA accounts;
CREATE SCHEMA payments;
CREATE SCHEMA ledger;
CREATE SCHEMA sink;

-- sink.offsets: the next record of each partition this database has not taken in. The compare on it is the fence.
CREATE TABLE sink.offsets (
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    next_offset bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 10);

-- sink.topics numbers the topics, so that a row's identity (topic, partition, log_offset, line) stays small.
CREATE TABLE sink.topics (
    topic smallint PRIMARY KEY,
    name  text NOT NULL UNIQUE
);
INSERT INTO sink.topics VALUES (1, 'payments.decisions.v1');

-- sink.advance moves the offsets, or ends the transaction where another owner has moved them before.
-- +goose StatementBegin
CREATE FUNCTION sink.advance(p_topic text, p_partitions integer[], p_old bigint[], p_new bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE moved bigint;
BEGIN
    WITH held AS ( -- locks in one order, so that two owners cannot deadlock
        SELECT o.partition FROM sink.offsets o
        WHERE o.topic = p_topic AND o.partition = ANY (p_partitions) ORDER BY o.partition FOR UPDATE
    ), step AS (
        SELECT * FROM unnest(p_partitions, p_old, p_new) AS u(partition, old, new)
    )
    UPDATE sink.offsets o SET next_offset = s.new, updated_at = now()
    FROM step s, held h
    WHERE o.topic = p_topic AND o.partition = s.partition AND h.partition = s.partition AND o.next_offset = s.old;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(p_partitions) THEN
        RAISE EXCEPTION 'another owner has moved % of % partitions', cardinality(p_partitions) - moved, cardinality(p_partitions)
            USING ERRCODE = 'CA001';
    END IF;
END $$;
-- +goose StatementEnd

-- sink.expect ends the transaction where a statement found fewer rows than it must.
-- +goose StatementBegin
CREATE FUNCTION sink.expect(p_found bigint, p_wanted bigint, p_what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_found <> p_wanted THEN
        RAISE EXCEPTION '% of % % are not there', p_wanted - p_found, p_wanted, p_what USING ERRCODE = 'CA003';
    END IF;
END $$;
-- +goose StatementEnd

-- accounts.accounts: the latest state of each account. account_seq counts every decision on the account, also those
-- that moved nothing; a row with status 0 is a key that was addressed and never opened.
CREATE TABLE accounts.accounts (
    account               text COLLATE "C" PRIMARY KEY,
    account_seq           bigint      NOT NULL,
    opened_at             timestamptz,
    overdraft_limit_minor bigint      NOT NULL DEFAULT 0, -- in the first currency
    kind                  smallint    NOT NULL DEFAULT 0,
    status                smallint    NOT NULL DEFAULT 0,
    kyc_level             smallint    NOT NULL DEFAULT 0,
    tenant                text        NOT NULL DEFAULT '',
    merchant              text        NOT NULL DEFAULT '',
    customer              text        NOT NULL DEFAULT '',
    external_id           text        NOT NULL DEFAULT '',
    policy                text        NOT NULL DEFAULT '',
    currencies            text[]      NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- payments.payments: one row per payment, its latest state. The key contains the month of creation, because an id may
-- be used anew once its record has left (design.md section 3); a reader takes the newest.
CREATE TABLE payments.payments (
    payment_id          text COLLATE "C" NOT NULL,
    created_month       date        NOT NULL,
    effective_date      date        NOT NULL,
    created_at          timestamptz NOT NULL,
    decided_at          timestamptz NOT NULL, -- accepted_at of the decision that set the present state
    deadline_at         timestamptz,          -- in review: when it expires
    created_seq         bigint      NOT NULL, -- account_seq of the decision that created it
    account_seq         bigint      NOT NULL, -- account_seq of the decision that set the present state
    log_offset          bigint      NOT NULL, -- of the same decision
    amount_minor        bigint      NOT NULL, -- in currency
    target_amount_minor bigint      NOT NULL, -- in target_currency
    fee_minor           bigint      NOT NULL, -- in currency
    limit_amount_minor  bigint      NOT NULL, -- in limit_currency
    refunded_minor      bigint      NOT NULL, -- in currency
    log_partition       integer     NOT NULL,
    fx_spread_bp        integer,
    kind                smallint    NOT NULL,
    outcome             smallint    NOT NULL, -- the first decision; what became of it is status
    status              smallint    NOT NULL,
    fraud_score         smallint    NOT NULL,
    currency            text        NOT NULL,
    target_currency     text        NOT NULL,
    limit_currency      text        NOT NULL,
    method              text        NOT NULL,
    tenant              text        NOT NULL,
    merchant            text        NOT NULL,
    customer            text        NOT NULL,
    account             text COLLATE "C" NOT NULL,
    to_account          text COLLATE "C" NOT NULL,
    related_payment_id  text COLLATE "C" NOT NULL,
    instrument          text        NOT NULL,
    counterparty_country text       NOT NULL,
    sealed_key_id       text        NOT NULL,
    sealed              bytea       NOT NULL,
    fx_rate             numeric,
    fx_mid              numeric,
    reasons             smallint[]  NOT NULL,
    PRIMARY KEY (payment_id, created_month)
) PARTITION BY RANGE (created_month);
CREATE TABLE payments.payments_default PARTITION OF payments.payments DEFAULT;

-- ledger.journals: one row per decision that wrote journals. posted_minor and held_minor are the account's balance in
-- currency after this decision: what a statement shows beside each movement.
CREATE TABLE ledger.journals (
    log_offset        bigint      NOT NULL,
    account_seq       bigint      NOT NULL,
    command_offset    bigint      NOT NULL,
    accepted_at       timestamptz NOT NULL,
    posted_minor      bigint      NOT NULL,
    held_minor        bigint      NOT NULL,
    incoming_minor    bigint      NOT NULL,
    log_partition     integer     NOT NULL,
    command_partition integer     NOT NULL,
    booking_month     date        NOT NULL,
    booking_date      date        NOT NULL,
    topic             smallint    NOT NULL,
    kind              smallint    NOT NULL, -- of the command
    journals          smallint    NOT NULL, -- how many stand in the decision
    postings          smallint    NOT NULL, -- lines of all of them together
    account           text COLLATE "C" NOT NULL,
    payment_id        text COLLATE "C" NOT NULL,
    currency          text        NOT NULL,
    PRIMARY KEY (topic, log_partition, log_offset, booking_month)
) PARTITION BY RANGE (booking_month);
CREATE TABLE ledger.journals_default PARTITION OF ledger.journals DEFAULT;
-- The one secondary index: a statement is the journals of an account in order, and their lines by the primary key.
-- A customer account's lines stand only in decisions on its own key.
CREATE INDEX journals_statement ON ledger.journals (account, account_seq);

-- ledger.postings: one row per line. Invariant: amounts sum to zero per decision, layer and currency.
CREATE TABLE ledger.postings (
    log_offset    bigint   NOT NULL,
    amount_minor  bigint   NOT NULL, -- credit > 0, debit < 0
    log_partition integer  NOT NULL,
    booking_month date     NOT NULL,
    topic         smallint NOT NULL,
    line          smallint NOT NULL, -- 0, 1, 2 ... over all journals of the decision
    journal_kind  smallint NOT NULL,
    layer         smallint NOT NULL,
    account       text COLLATE "C" NOT NULL,
    currency      text     NOT NULL,
    PRIMARY KEY (topic, log_partition, log_offset, line, booking_month)
) PARTITION BY RANGE (booking_month);
CREATE TABLE ledger.postings_default PARTITION OF ledger.postings DEFAULT;

-- ledger.balances: customer accounts, as sums of postings. The stages keep each within bigint.
CREATE TABLE ledger.balances (
    account        text COLLATE "C" NOT NULL,
    currency       text COLLATE "C" NOT NULL,
    posted_minor   bigint NOT NULL,
    held_minor     bigint NOT NULL,
    incoming_minor bigint NOT NULL,
    PRIMARY KEY (account, currency)
) WITH (fillfactor = 60);

-- ledger.system_balances: the house's own accounts. No decision reads them, so nothing keeps them within bigint; and
-- each writing sink has rows of its own (shard = its lowest partition), so that sinks never wait for each other.
CREATE TABLE ledger.system_balances (
    account        text COLLATE "C" NOT NULL,
    currency       text COLLATE "C" NOT NULL,
    shard          integer NOT NULL,
    posted_minor   numeric NOT NULL,
    held_minor     numeric NOT NULL,
    incoming_minor numeric NOT NULL,
    PRIMARY KEY (account, currency, shard)
) WITH (fillfactor = 30);

CREATE VIEW ledger.account_balances AS
SELECT account, currency, posted_minor::numeric, held_minor::numeric, incoming_minor::numeric,
       posted_minor::numeric - held_minor AS available_minor
FROM ledger.balances
UNION ALL
SELECT account, currency, sum(posted_minor), sum(held_minor), sum(incoming_minor), sum(posted_minor) - sum(held_minor)
FROM ledger.system_balances GROUP BY account, currency;

-- sink.ensure_months makes the partitions of the months given. Dates no business has (before 1970, from 2100 on) share
-- the default partition, so that a stream of odd dates cannot make tables without end.
-- +goose StatementBegin
CREATE FUNCTION sink.ensure_months(p_schema text, p_table text, p_months date[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE m date; part text;
BEGIN
    FOREACH m IN ARRAY p_months LOOP
        CONTINUE WHEN m < DATE '1970-01-01' OR m >= DATE '2100-01-01';
        part := p_table || to_char(m, '_YYYY_MM');
        IF to_regclass(format('%I.%I', p_schema, part)) IS NULL THEN
            EXECUTE format('CREATE TABLE %I.%I PARTITION OF %I.%I FOR VALUES FROM (%L) TO (%L)',
                p_schema, part, p_schema, p_table, m, m + interval '1 month');
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- What is booked stays. A superuser can still change a byte; caudal verify finds it.
-- +goose StatementBegin
CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION '% is immutable: corrections are new journals', TG_TABLE_NAME USING ERRCODE = 'CA002';
END $$;
-- +goose StatementEnd
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.journals FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.postings FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();

-- payments.words reads the numbers out, for people.
CREATE TABLE payments.words (
    enumeration text     NOT NULL,
    number      smallint NOT NULL,
    word        text     NOT NULL,
    PRIMARY KEY (enumeration, number)
);

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

-- +goose Down
DROP SCHEMA ledger CASCADE;
DROP SCHEMA payments CASCADE;
DROP SCHEMA accounts CASCADE;
DROP SCHEMA sink CASCADE;
