-- Reporting, rebuilt from payments.decisions.v1 at any time. Money is Int64 minor units beside its currency.
--
-- The identity of a row is (log_partition, log_offset[, line]). Exactly once comes from recorded ranges
-- (sink_ranges), insert tokens and a comparison with the log at each start; ReplacingMergeTree by identity is the second
-- net, so whoever reconciles reads the *_exact views.
--
-- ClickHouse has no transaction around these statements: each can be run again where a migration was cut off.

-- +goose Up

-- sink_ranges: the range of each insert, recorded before it. seq is taken by an insert whose token is the number, so of
-- two sinks only one gets it: that is the fence.
CREATE TABLE IF NOT EXISTS sink_ranges
(
    sink        String,
    seq         UInt64,
    owner       String,
    partitions  Array(Int32),
    first       Array(Int64),
    next        Array(Int64),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(seq) ORDER BY (sink)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- payment_facts: one row per decision, ticks apart.
CREATE TABLE IF NOT EXISTS payment_facts
(
    accepted_at         DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    log_partition       Int32,
    log_offset          Int64 CODEC(Delta, ZSTD),
    tenant              LowCardinality(String),
    merchant            LowCardinality(String),
    customer            String,
    account             String,
    account_seq         UInt64,
    kind                LowCardinality(String),
    outcome             LowCardinality(String),
    status              LowCardinality(String),
    reasons             Array(LowCardinality(String)),
    command_id          String,
    payment_id          String,
    command_partition   Int32,
    command_offset      Int64 CODEC(Delta, ZSTD),
    created_at          DateTime64(6, 'UTC'),
    effective_date      Date32,
    amount_minor        Int64,
    currency            LowCardinality(String),
    target_amount_minor Int64,
    target_currency     LowCardinality(String),
    fee_minor           Int64,
    fx_rate_unscaled    Int64,
    fx_rate_scale       UInt8,
    fx_mid_unscaled     Int64,
    fx_mid_scale        UInt8,
    fx_spread_bp        Int32,
    limit_amount_minor  Int64,
    limit_currency      LowCardinality(String),
    method              LowCardinality(String),
    to_account          String,
    related_payment_id  String,
    related_status      LowCardinality(String),
    refunded_minor      Int64,
    fraud_score         UInt16,
    rule_hits           Array(LowCardinality(String)),
    rule_weights        Array(UInt16),
    policy              LowCardinality(String),
    fees                LowCardinality(String),
    rates               LowCardinality(String),
    rules               LowCardinality(String),
    blocklist           LowCardinality(String),
    counterparty_country LowCardinality(String),
    postings            UInt16
)
ENGINE = ReplacingMergeTree(log_offset)
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (merchant, toDate(accepted_at), log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- postings: one row per line of every journal.
CREATE TABLE IF NOT EXISTS postings
(
    accepted_at   DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    log_partition Int32,
    log_offset    Int64 CODEC(Delta, ZSTD),
    line          UInt16,
    journal_kind  LowCardinality(String),
    layer         LowCardinality(String),
    account       String,
    currency      LowCardinality(String),
    amount_minor  Int64,
    booking_date  Date32,
    kind          LowCardinality(String),
    tenant        LowCardinality(String),
    merchant      LowCardinality(String),
    payment_id    String
)
ENGINE = ReplacingMergeTree(log_offset)
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (account, log_partition, log_offset, line)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- payments_by_minute: counts and sums, added to by the view below at each insert. Read with GROUP BY and sum().
CREATE TABLE IF NOT EXISTS payments_by_minute
(
    minute       DateTime('UTC'),
    tenant       LowCardinality(String),
    merchant     LowCardinality(String),
    currency     LowCardinality(String),
    kind         LowCardinality(String),
    outcome      LowCardinality(String),
    decisions    SimpleAggregateFunction(sum, UInt64),
    amount_minor SimpleAggregateFunction(sum, Int128),
    fee_minor    SimpleAggregateFunction(sum, Int128),
    fraud_score  SimpleAggregateFunction(max, UInt16)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, tenant, merchant, currency, kind, outcome)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS payments_by_minute_feed TO payments_by_minute AS
SELECT toStartOfMinute(accepted_at) AS minute, tenant, merchant, currency, kind, outcome,
       count() AS decisions, sum(toInt128(payment_facts.amount_minor)) AS amount_minor,
       sum(toInt128(payment_facts.fee_minor)) AS fee_minor, max(payment_facts.fraud_score) AS fraud_score
FROM payment_facts
GROUP BY minute, tenant, merchant, currency, kind, outcome;

CREATE VIEW IF NOT EXISTS payment_facts_exact AS SELECT * FROM payment_facts FINAL;
CREATE VIEW IF NOT EXISTS postings_exact AS SELECT * FROM postings FINAL;

-- payments: the latest state of each payment. Decisions of a payment stand on one partition, so offsets order them;
-- the payee's side of a transfer is a fact of its own and not a state of the transfer.
CREATE VIEW IF NOT EXISTS payments AS
SELECT payment_id,
       anyIf(kind, creates) AS kind, anyIf(tenant, creates) AS tenant, anyIf(merchant, creates) AS merchant,
       anyIf(customer, creates) AS customer, anyIf(account, creates) AS account, anyIf(to_account, creates) AS to_account,
       anyIf(method, creates) AS method, anyIf(related_payment_id, creates) AS related_payment_id,
       anyIf(amount_minor, creates) AS amount_minor, anyIf(currency, creates) AS currency,
       anyIf(target_amount_minor, creates) AS target_amount_minor, anyIf(target_currency, creates) AS target_currency,
       anyIf(fee_minor, creates) AS fee_minor, anyIf(fraud_score, creates) AS fraud_score,
       anyIf(created_at, creates) AS created_at, anyIf(effective_date, creates) AS effective_date,
       argMax(state, log_offset) AS status, argMaxIf(why, log_offset, notEmpty(why)) AS reasons,
       max(refunded) AS refunded_minor, max(seq) AS account_seq
FROM
(
    SELECT payment_id, kind, tenant, merchant, customer, account, to_account, method, related_payment_id, amount_minor,
           currency, target_amount_minor, target_currency, fee_minor, fraud_score, created_at, effective_date,
           log_offset, status AS state, payment_facts.reasons AS why, toInt64(0) AS refunded, payment_facts.account_seq AS seq,
           kind IN ('payin', 'payout', 'transfer', 'refund') AS creates
    FROM payment_facts FINAL
    WHERE payment_id != '' AND status != '' AND kind != 'counter_leg'
      AND (kind IN ('payin', 'payout', 'transfer', 'refund') ? outcome IN ('approved', 'declined', 'review')
                                                             : outcome IN ('approved', 'applied'))
    UNION ALL
    SELECT related_payment_id, '', '', '', '', '', '', '', '', 0, '', 0, '', 0, 0, created_at, effective_date,
           log_offset, related_status, [], refunded_minor, payment_facts.account_seq, 0
    FROM payment_facts FINAL
    WHERE kind = 'refund' AND outcome = 'approved' AND related_payment_id != ''
)
GROUP BY payment_id
HAVING kind != '';

-- account_balances: posted and held per account and currency, as the journals say.
CREATE VIEW IF NOT EXISTS account_balances AS
SELECT account, currency,
       sumIf(toInt128(amount_minor), layer = 'posted') AS posted_minor,
       -sumIf(toInt128(amount_minor), layer = 'pending' AND ((journal_kind = 'hold' AND amount_minor < 0) OR (journal_kind = 'release' AND amount_minor > 0))) AS held_minor,
       sumIf(toInt128(amount_minor), layer = 'pending' AND ((journal_kind = 'hold' AND amount_minor > 0) OR (journal_kind = 'release' AND amount_minor < 0))) AS incoming_minor
FROM postings FINAL
GROUP BY account, currency;

-- +goose Down
DROP VIEW account_balances;
DROP VIEW payments;
DROP VIEW postings_exact;
DROP VIEW payment_facts_exact;
DROP VIEW payments_by_minute_feed;
DROP TABLE payments_by_minute;
DROP TABLE postings;
DROP TABLE payment_facts;
DROP TABLE sink_ranges;
