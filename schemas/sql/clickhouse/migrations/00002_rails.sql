-- What a rail grants, takes and names. Rows of before have nothing of it. Each statement can be run again, as in 00001.
--
-- What to sum. A decision is not money: a pay-in by card stands in payment_facts and payments_by_minute under `payin` when it is
-- granted, under `capture` when a part is asked for, and under `rail_answer` when the rail has said what it did. So amounts are
-- never summed over kinds, and neither `payin` nor `capture` says that money came. What moved is in the postings:
--   came in, by method:   debit_minor of house_by_day, account sys_clearing_*, journal_kind post
--   gone back or out:     credit_minor of the same (journal_kind refund: refunds; post: payouts), payouts come back: return
--   fees earned:          credit_minor - debit_minor of account sys_fees
--   done after the end:   journal_kind late, in suspense until a person has looked
-- Per payment: amount_minor is what was asked for, captured_minor what has come of a pay-in by card, less refunded_minor.

-- +goose Up
ALTER TABLE payment_facts
    ADD COLUMN IF NOT EXISTS captured_minor   Int64,
    ADD COLUMN IF NOT EXISTS authorized_minor Int64,
    ADD COLUMN IF NOT EXISTS order_id         String,
    ADD COLUMN IF NOT EXISTS rail_code        LowCardinality(String),
    ADD COLUMN IF NOT EXISTS connector        LowCardinality(String),
    ADD COLUMN IF NOT EXISTS rail_reference   String;

-- A view knows the columns of the day it was made.
CREATE OR REPLACE VIEW payment_facts_exact AS SELECT * FROM payment_facts FINAL;

-- payments: the latest state of each payment and of each operation on one. A decision on an operation tells both. What was
-- declined changes neither, and an operation's record that leaves tells no status of its payment. captured and authorised
-- amounts are told where the authorised one is not 0; a capture's fee and credit when it is confirmed; and the first answer
-- with a reference names what the rail did, apart from those to voids that nobody asked for.
CREATE OR REPLACE VIEW payments AS
SELECT payment_id,
       anyIf(kind, creates) AS kind, anyIf(tenant, creates) AS tenant, anyIf(merchant, creates) AS merchant,
       anyIf(customer, creates) AS customer, anyIf(account, creates) AS account, anyIf(to_account, creates) AS to_account,
       anyIf(method, creates) AS method, anyIf(related_payment_id, creates) AS related_payment_id,
       anyIf(amount_minor, creates) AS amount_minor, anyIf(currency, creates) AS currency,
       argMaxIf(target, log_offset, creates OR gives) AS target_amount_minor, anyIf(target_currency, creates) AS target_currency,
       argMaxIf(fee, log_offset, creates OR gives) AS fee_minor, anyIf(fraud_score, creates) AS fraud_score,
       anyIf(created_at, creates) AS created_at, anyIf(effective_date, creates) AS effective_date,
       argMax(state, log_offset) AS status, argMaxIf(why, log_offset, notEmpty(why)) AS reasons,
       max(refunded) AS refunded_minor, max(seq) AS account_seq,
       argMaxIf(captured, log_offset, authorized != 0) AS captured_minor, max(authorized) AS authorized_minor,
       if(max(what != ''), argMinIf(who, log_offset, what != ''), argMaxIf(who, log_offset, who != '')) AS connector,
       argMinIf(what, log_offset, what != '') AS rail_reference
FROM
(
    SELECT payment_id, kind, tenant, merchant, customer, account, to_account, method, related_payment_id, amount_minor,
           currency, payment_facts.target_amount_minor AS target, target_currency, payment_facts.fee_minor AS fee, fraud_score,
           created_at, effective_date, log_offset, status AS state, payment_facts.reasons AS why, toInt64(0) AS refunded,
           payment_facts.account_seq AS seq,
           if(related_payment_id = '', payment_facts.captured_minor, 0) AS captured,
           if(related_payment_id = '', payment_facts.authorized_minor, 0) AS authorized,
           if(endsWith(order_id, '.expire'), '', toString(payment_facts.connector)) AS who,
           if(endsWith(order_id, '.expire'), '', payment_facts.rail_reference) AS what,
           kind IN ('payin', 'payout', 'transfer', 'refund', 'capture', 'void', 'increment') AS creates,
           kind = 'rail_answer' AND related_payment_id != '' AND (fee != 0 OR target != 0) AS gives
    FROM payment_facts FINAL
    WHERE payment_id != '' AND status != '' AND kind != 'counter_leg'
      AND (kind IN ('payin', 'payout', 'transfer', 'refund', 'capture', 'void', 'increment')
           ? outcome IN ('approved', 'declined', 'review') : outcome IN ('approved', 'applied'))
    UNION ALL
    SELECT related_payment_id, '', '', '', '', '', '', '', '', 0, '', 0, '', 0, 0, created_at, effective_date,
           log_offset, related_status, [], refunded_minor, payment_facts.account_seq,
           payment_facts.captured_minor, payment_facts.authorized_minor, '', '', 0, 0
    FROM payment_facts FINAL
    WHERE related_payment_id != '' AND related_status != ''
      AND (kind IN ('refund', 'capture', 'void', 'increment') AND outcome = 'approved' OR kind = 'rail_answer' AND outcome = 'applied')
)
GROUP BY payment_id
HAVING kind != '';

-- house_by_day: what went through the house's own accounts, by the day it is booked on. See the top of this file.
CREATE OR REPLACE VIEW house_by_day AS
SELECT booking_date, tenant, merchant, account, journal_kind, currency,
       -sumIf(toInt128(amount_minor), amount_minor < 0) AS debit_minor, sumIf(toInt128(amount_minor), amount_minor > 0) AS credit_minor
FROM postings FINAL
WHERE account LIKE 'sys\_%' AND layer = 'posted'
GROUP BY booking_date, tenant, merchant, account, journal_kind, currency;

-- +goose Down
DROP VIEW house_by_day;
DROP VIEW payments;
DROP VIEW payment_facts_exact;
ALTER TABLE payment_facts DROP COLUMN captured_minor, DROP COLUMN authorized_minor, DROP COLUMN order_id, DROP COLUMN rail_code,
    DROP COLUMN connector, DROP COLUMN rail_reference;
CREATE VIEW payment_facts_exact AS SELECT * FROM payment_facts FINAL;
CREATE VIEW payments AS
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
