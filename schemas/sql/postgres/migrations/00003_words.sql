-- The words of payments.listing: their table was made and never filled, and the view showed nothing in their place. A number
-- that the wire format gets later comes by a migration of its own; a test compares.

-- +goose Up
INSERT INTO payments.words (enumeration, number, word) VALUES
    ('kind', 1, 'open_account'), ('kind', 2, 'set_kyc_level'), ('kind', 10, 'payin'), ('kind', 11, 'payout'),
    ('kind', 12, 'transfer'), ('kind', 13, 'refund'), ('kind', 14, 'capture'), ('kind', 15, 'void'),
    ('kind', 16, 'increment'), ('kind', 20, 'approve'), ('kind', 21, 'decline'), ('kind', 30, 'expire'),
    ('kind', 31, 'tick'), ('kind', 40, 'counter_leg'), ('kind', 41, 'leg_result'), ('kind', 42, 'release_claim'),
    ('kind', 50, 'rail_answer'),
    ('outcome', 1, 'approved'), ('outcome', 2, 'declined'), ('outcome', 3, 'review'), ('outcome', 4, 'applied'),
    ('outcome', 5, 'repeated'), ('outcome', 6, 'conflict'),
    ('status', 1, 'in_review'), ('status', 2, 'processing'), ('status', 3, 'succeeded'), ('status', 4, 'failed'),
    ('status', 5, 'partially_refunded'), ('status', 6, 'refunded'), ('status', 7, 'expired'),
    ('status', 8, 'unknown'), ('status', 9, 'requires_capture'), ('status', 10, 'partially_captured'),
    ('status', 11, 'cancelled'), ('status', 12, 'created'), ('status', 13, 'pending'), ('status', 14, 'sent'),
    ('status', 15, 'paid'), ('status', 16, 'returned'),
    ('reason', 1, 'idempotency_conflict'), ('reason', 10, 'account_unknown'), ('reason', 11, 'owner_mismatch'),
    ('reason', 12, 'account_closed'), ('reason', 13, 'account_blocked'), ('reason', 14, 'customer_has_account'),
    ('reason', 15, 'policy_mismatch'), ('reason', 20, 'payment_unknown'), ('reason', 21, 'payment_too_old'),
    ('reason', 22, 'payment_state'), ('reason', 23, 'refund_exceeds_payment'), ('reason', 24, 'same_account'),
    ('reason', 25, 'method_unavailable'), ('reason', 26, 'capture_exceeds_authorization'),
    ('reason', 27, 'operation_in_progress'), ('reason', 30, 'currency_not_held'), ('reason', 31, 'amount_overflow'),
    ('reason', 32, 'amount_too_small'), ('reason', 40, 'rate_missing'), ('reason', 41, 'rate_stale'),
    ('reason', 50, 'blocked_party'), ('reason', 51, 'blocked_country'), ('reason', 60, 'fraud_score'),
    ('reason', 70, 'limit_day'), ('reason', 71, 'limit_month'), ('reason', 80, 'insufficient_funds'),
    ('reason', 90, 'review_declined'), ('reason', 91, 'review_expired'), ('reason', 92, 'rail_refused'),
    ('reason', 93, 'rail_late'), ('reason', 94, 'rail_amount'), ('reason', 95, 'rail_contradiction'),
    ('reason', 96, 'authorization_expired')
ON CONFLICT (enumeration, number) DO UPDATE SET word = EXCLUDED.word;

-- +goose Down
TRUNCATE payments.words;
