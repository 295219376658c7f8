-- Quotes, disputes and issued cards. Rows of before have nothing of it. Each statement can be run again, as in 00001.

-- +goose Up
ALTER TABLE payment_facts
    ADD COLUMN IF NOT EXISTS card          String,
    ADD COLUMN IF NOT EXISTS mcc           LowCardinality(String),
    ADD COLUMN IF NOT EXISTS acquirer      LowCardinality(String),
    ADD COLUMN IF NOT EXISTS card_acceptor String,
    ADD COLUMN IF NOT EXISTS rrn           String,
    ADD COLUMN IF NOT EXISTS reason_code   LowCardinality(String),
    ADD COLUMN IF NOT EXISTS quote         String,
    ADD COLUMN IF NOT EXISTS evidence      Array(LowCardinality(String)); -- the kinds of the files named

-- A view knows the columns of the day it was made.
CREATE OR REPLACE VIEW payment_facts_exact AS SELECT * FROM payment_facts FINAL;

-- payments: the latest state of each payment and of each record about one, as in 00002. Facts told from outside (advices,
-- reversals, clearings, disputes) make a record with their first word and change it with later ones; an authorization is told by
-- what was asked, where that is there. A payment that has used a quote is the last word about the quote.
CREATE OR REPLACE VIEW payments AS
SELECT payment_id, made.1 AS kind, made.2 AS tenant, made.3 AS merchant, made.4 AS customer, made.5 AS account, made.6 AS to_account,
       made.7 AS method, if(max(user) != '', max(user), made.8) AS related_payment_id, made.9 AS amount_minor, made.10 AS currency,
       argMaxIf(target, log_offset, creates OR gives) AS target_amount_minor, made.11 AS target_currency,
       argMaxIf(fee, log_offset, creates OR gives) AS fee_minor, made.12 AS fraud_score, made.13 AS created_at, made.14 AS effective_date,
       argMax(state, log_offset) AS status, argMaxIf(why, log_offset, notEmpty(why)) AS reasons,
       max(refunded) AS refunded_minor, max(seq) AS account_seq,
       argMaxIf(captured, log_offset, authorized != 0) AS captured_minor, argMaxIf(authorized, log_offset, authorized != 0) AS authorized_minor,
       if(max(what != ''), argMinIf(who, log_offset, what != ''), argMaxIf(who, log_offset, who != '')) AS connector,
       argMinIf(what, log_offset, what != '') AS rail_reference, made.15 AS quote, made.16 AS card, made.17 AS mcc, made.18 AS acquirer,
       made.19 AS card_acceptor, made.20 AS rrn, argMaxIf(code, log_offset, code != '') AS reason_code,
       argMaxIf(facts, (NOT told, if(told, -log_offset, log_offset)), creates) AS made
FROM
(
    SELECT payment_id,
           (if(told, 'authorization', toString(kind)), toString(tenant), toString(merchant), customer, account, to_account, toString(method),
            related_payment_id, amount_minor, toString(currency), toString(target_currency), fraud_score, created_at, effective_date,
            payment_facts.quote, payment_facts.card, toString(payment_facts.mcc), toString(payment_facts.acquirer), payment_facts.card_acceptor,
            payment_facts.rrn) AS facts,
           payment_facts.target_amount_minor AS target, payment_facts.fee_minor AS fee, log_offset, toString(status) AS state,
           payment_facts.reasons AS why, toInt64(0) AS refunded, payment_facts.account_seq AS seq,
           if(related_payment_id = '', payment_facts.captured_minor, 0) AS captured,
           if(related_payment_id = '', payment_facts.authorized_minor, 0) AS authorized,
           if(endsWith(order_id, '.expire'), '', toString(payment_facts.connector)) AS who,
           if(endsWith(order_id, '.expire'), '', payment_facts.rail_reference) AS what,
           toString(payment_facts.reason_code) AS code, '' AS user, kind IN ('authorization_advice', 'reversal') AS told,
           kind IN ('payin', 'payout', 'transfer', 'refund', 'capture', 'void', 'increment', 'fx_quote', 'authorization', 'authorization_advice',
                    'reversal', 'clearing', 'dispute') AS creates,
           kind = 'rail_answer' AND related_payment_id != '' AND (fee != 0 OR target != 0) OR kind IN ('dispute_evidence', 'dispute_accept') AS gives
    FROM payment_facts FINAL
    WHERE payment_id != '' AND status != '' AND kind != 'counter_leg'
      AND (kind IN ('payin', 'payout', 'transfer', 'refund', 'capture', 'void', 'increment', 'fx_quote', 'authorization')
           ? outcome IN ('approved', 'declined', 'review') : outcome IN ('approved', 'applied'))
    UNION ALL
    SELECT related_payment_id, ('', '', '', '', '', '', '', '', 0, '', '', 0, created_at, effective_date, '', '', '', '', '', ''), 0, 0, log_offset,
           toString(related_status), [], refunded_minor, payment_facts.account_seq, payment_facts.captured_minor, payment_facts.authorized_minor,
           '', '', '', '', 0, 0, 0
    FROM payment_facts FINAL
    WHERE related_payment_id != '' AND related_status != ''
      AND (kind IN ('refund', 'capture', 'void', 'increment') AND outcome = 'approved' OR kind IN ('rail_answer', 'clearing', 'dispute') AND outcome = 'applied')
    UNION ALL
    SELECT payment_facts.quote, ('', '', '', '', '', '', '', '', 0, '', '', 0, created_at, effective_date, '', '', '', '', '', ''), 0, 0, log_offset,
           'succeeded', [], 0, payment_facts.account_seq, 0, 0, '', '', '', payment_id, 0, 0, 0
    FROM payment_facts FINAL
    WHERE payment_facts.quote != '' AND kind IN ('payin', 'payout', 'transfer') AND outcome IN ('approved', 'review')
)
GROUP BY payment_id
HAVING kind != '';

-- disputes: where each dispute stands. fee_minor is what stands charged, in target_currency.
CREATE OR REPLACE VIEW disputes AS
SELECT p.payment_id AS dispute_id, p.related_payment_id AS payment_id, p.status AS status, p.tenant AS tenant, p.merchant AS merchant, p.account AS account,
       p.connector AS connector, p.rail_reference AS reference, p.reason_code AS reason_code, p.amount_minor AS amount_minor, p.currency AS currency,
       p.target_amount_minor AS target_amount_minor, p.target_currency AS target_currency, p.fee_minor AS fee_minor, p.created_at AS created_at
FROM payments AS p WHERE p.kind = 'dispute';

-- authorizations_by_day: what acquirers asked of the cards of the house, and what they were told. reason is the main one.
CREATE OR REPLACE VIEW authorizations_by_day AS
SELECT toDate(accepted_at) AS day, tenant, merchant, acquirer, mcc, currency, outcome, arrayElement(reasons, 1) AS reason,
       count() AS decisions, sum(toInt128(payment_facts.amount_minor)) AS amount_minor
FROM payment_facts FINAL
WHERE kind = 'authorization' AND outcome IN ('approved', 'declined')
GROUP BY day, tenant, merchant, acquirer, mcc, currency, outcome, reason;

-- +goose Down
DROP VIEW authorizations_by_day;
DROP VIEW disputes;
DROP VIEW payments;
DROP VIEW payment_facts_exact;
ALTER TABLE payment_facts DROP COLUMN card, DROP COLUMN mcc, DROP COLUMN acquirer, DROP COLUMN card_acceptor, DROP COLUMN rrn, DROP COLUMN reason_code,
    DROP COLUMN quote, DROP COLUMN evidence;
CREATE VIEW payment_facts_exact AS SELECT * FROM payment_facts FINAL;
CREATE VIEW payments AS
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
