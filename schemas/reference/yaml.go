package reference

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/strictyaml"
	"github.com/caudalpay/caudal/schemas/topics"
)

// The YAML forms. A head stands on top of each.
// Head is exported for the YAML library alone, which cannot fill an embedded type that is not.
type Head struct {
	Kind    string           `yaml:"kind"`
	ID      string           `yaml:"id"`
	Version strictyaml.Whole `yaml:"version"`
}

type policyYAML struct {
	Head          `yaml:",inline"`
	Tenant        string           `yaml:"tenant"`
	LimitCurrency string           `yaml:"limit_currency"`
	Limits        []limitYAML      `yaml:"limits"`
	Fraud         fraudYAML        `yaml:"fraud"`
	Fees          string           `yaml:"fees"`
	Rates         string           `yaml:"rates"`
	Rules         string           `yaml:"rules"`
	Blocklist     string           `yaml:"blocklist"`
	UTCOffsets    []offsetYAML     `yaml:"utc_offsets"`
	ReviewTimeout string           `yaml:"review_timeout"`
	RetentionDays strictyaml.Whole `yaml:"retention_days"`
	Card          *cardYAML        `yaml:"card"`
	Bank          *bankYAML        `yaml:"bank"`
	Issuing       *issuingYAML     `yaml:"issuing"`
	QuoteTTL      string           `yaml:"quote_ttl"` // a duration: 15m; empty: no quotes
}

// cardYAML stands in a policy that takes cards.
type cardYAML struct {
	AuthorizationTTL string           `yaml:"authorization_ttl"` // a duration: 168h; empty: never expires here
	OverCaptureBP    strictyaml.Whole `yaml:"over_capture_bp"`
	RefundFee        string           `yaml:"refund_fee"`  // kept, or returned
	RefundRate       string           `yaml:"refund_rate"` // original, or current
	Dispute          *disputeYAML     `yaml:"dispute"`     // left out: disputes cost nothing
}

// disputeYAML is what a dispute costs the account.
type disputeYAML struct {
	Fees       []chargeYAML `yaml:"fees"`         // by the account's currency; one without a row: nothing
	FeeWhenWon string       `yaml:"fee_when_won"` // kept, or returned
}

// issuingYAML stands in a policy under which cards pay from the account.
type issuingYAML struct {
	AuthorizationTTL string       `yaml:"authorization_ttl"` // a duration: 168h; empty: never expires here
	StandInFloor     []chargeYAML `yaml:"stand_in_floor"`    // granted at the door up to this where no decision comes in time
	BINs             []string     `yaml:"bins"`              // leading digits of the numbers that may be enrolled; none: any
}

type chargeYAML struct {
	Currency    string           `yaml:"currency"`
	AmountMinor strictyaml.Whole `yaml:"amount_minor"`
}

// bankYAML stands in a policy that pays out by bank.
type bankYAML struct {
	ReturnFee string `yaml:"return_fee"` // kept, or returned
}

type limitYAML struct {
	Level      strictyaml.Whole `yaml:"level"`
	DayMinor   strictyaml.Whole `yaml:"day_minor"`
	MonthMinor strictyaml.Whole `yaml:"month_minor"`
}

type fraudYAML struct {
	Mode         string           `yaml:"mode"` // monitor, enforce, or empty
	ReviewScore  strictyaml.Whole `yaml:"review_score"`
	DeclineScore strictyaml.Whole `yaml:"decline_score"`
}

type offsetYAML struct {
	From   string `yaml:"from"`   // RFC 3339
	Offset string `yaml:"offset"` // a duration: -3h
}

type feesYAML struct {
	Head `yaml:",inline"`
	Fees []feeYAML `yaml:"fees"`
}

type feeYAML struct {
	Kind       string           `yaml:"kind"` // payin, payout, transfer
	Method     string           `yaml:"method"`
	Currency   string           `yaml:"currency"`
	FixedMinor strictyaml.Whole `yaml:"fixed_minor"`
	RatePPM    strictyaml.Whole `yaml:"rate_ppm"`
	MinMinor   strictyaml.Whole `yaml:"min_minor"`
	MaxMinor   strictyaml.Whole `yaml:"max_minor"`
}

type ratesYAML struct {
	Head       `yaml:",inline"`
	AsOf       string     `yaml:"as_of"`       // RFC 3339
	ValidUntil string     `yaml:"valid_until"` // RFC 3339
	Rates      []rateYAML `yaml:"rates"`
}

type rateYAML struct {
	Source   string           `yaml:"source"`
	Target   string           `yaml:"target"`
	Mid      string           `yaml:"mid"` // decimal text: major units of target for one of source
	SpreadBP strictyaml.Whole `yaml:"spread_bp"`
}

type rulesYAML struct {
	Head  `yaml:",inline"`
	Rules []ruleYAML `yaml:"rules"`
}

type ruleYAML struct {
	ID         string           `yaml:"id"`
	Version    strictyaml.Whole `yaml:"version"`
	Kind       string           `yaml:"kind"`
	Weight     strictyaml.Whole `yaml:"weight"`
	Threshold  strictyaml.Whole `yaml:"threshold"`
	MinHistory strictyaml.Whole `yaml:"min_history"`
	From       string           `yaml:"from"` // 22:00
	To         string           `yaml:"to"`
	Reason     string           `yaml:"reason"`
}

type blocklistYAML struct {
	Head         `yaml:",inline"`
	Countries    []string `yaml:"countries"`
	PartyDigests []string `yaml:"party_digests"` // hex, as the installation's key makes them
}

// Parse reads one document. The error begins with name and the path of what is wrong.
func Parse(name string, raw []byte) (Document, error) {
	var h Head
	if err := strictyaml.Peek(raw, &h); err != nil {
		return Document{}, fmt.Errorf("%s: %w", name, err)
	}
	c := &check{}
	var d Document
	var err error
	switch h.Kind {
	case "policy":
		d, err = decode(raw, topics.Policies, c.policy)
	case "fee_schedule":
		d, err = decode(raw, topics.FeeSchedules, c.fees)
	case "rate_sheet":
		d, err = decode(raw, topics.FXRates, c.rates)
	case "rule_set":
		d, err = decode(raw, topics.Rules, c.rules)
	case "blocklist":
		d, err = decode(raw, topics.Blocklists, c.blocklist)
	default:
		err = errors.New("kind: is not one of policy, fee_schedule, rate_sheet, rule_set, blocklist")
	}
	c.head(h)
	if err = errors.Join(err, c.err()); err != nil {
		return Document{}, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

func decode[Y any, M Message](raw []byte, topic string, convert func(Y) M) (Document, error) {
	var y Y
	if err := strictyaml.Unmarshal(raw, &y); err != nil {
		return Document{}, err
	}
	return Document{Topic: topic, Message: convert(y)}, nil
}

func (c *check) policy(y policyYAML) *referencev1.Policy {
	p := &referencev1.Policy{
		Id: y.ID, Version: c.u32("version", y.Version), Tenant: y.Tenant, LimitCurrency: c.currency("limit_currency", y.LimitCurrency),
		ReviewScore: c.u32("fraud.review_score", y.Fraud.ReviewScore), DeclineScore: c.u32("fraud.decline_score", y.Fraud.DeclineScore),
		FeesId: c.optionalID("fees", y.Fees), RatesId: c.optionalID("rates", y.Rates),
		RulesId: c.optionalID("rules", y.Rules), BlocklistId: c.optionalID("blocklist", y.Blocklist),
		ReviewTimeoutS: int64(c.duration("review_timeout", y.ReviewTimeout) / time.Second), RetentionDays: c.i32("retention_days", y.RetentionDays),
	}
	switch y.Fraud.Mode {
	case "":
		c.must(y.Rules == "", "fraud.mode", "is not given, and rules are")
	case "monitor":
		p.FraudMode = referencev1.FraudMode_FRAUD_MODE_MONITOR
	case "enforce":
		p.FraudMode = referencev1.FraudMode_FRAUD_MODE_ENFORCE
	default:
		c.must(false, "fraud.mode", "is not one of monitor, enforce")
	}
	c.must(p.GetReviewTimeoutS() > 0, "review_timeout", "is not at least 1 s")
	c.must(y.RetentionDays > 0, "retention_days", "is not positive")
	c.must(y.Fraud.ReviewScore <= 1000, "fraud.review_score", "is above 1000")
	c.must(y.Fraud.DeclineScore <= 1000, "fraud.decline_score", "is above 1000")
	c.must(y.Fraud.DeclineScore == 0 || y.Fraud.ReviewScore < y.Fraud.DeclineScore, "fraud.review_score", "is not below decline_score")
	for i, l := range y.Limits {
		at := fmt.Sprintf("limits[%d]", i)
		c.must(l.Level == strictyaml.Whole(i), at+".level", "is not the next one: levels are 0, 1, 2, 3 in order")
		c.must(l.DayMinor >= 0, at+".day_minor", "is negative")
		c.must(l.MonthMinor >= l.DayMinor, at+".month_minor", "is below day_minor")
		if i > 0 {
			c.must(l.DayMinor >= y.Limits[i-1].DayMinor && l.MonthMinor >= y.Limits[i-1].MonthMinor, at, "is below the level before")
		}
		p.Limits = append(p.Limits, &referencev1.KycLimit{
			Level: c.u32(at+".level", l.Level), DayMinor: int64(l.DayMinor), MonthMinor: int64(l.MonthMinor),
		})
	}
	c.must(len(y.Limits) == 0 || len(y.Limits) == 4, "limits", "are neither none nor those of the four levels 0 to 3")
	for i, o := range y.UTCOffsets {
		at := fmt.Sprintf("utc_offsets[%d]", i)
		from, offset := c.time(at+".from", o.From), c.duration(at+".offset", o.Offset)
		c.must(offset >= -14*time.Hour && offset <= 14*time.Hour, at+".offset", "is not within 14 hours")
		c.must(i == 0 || from > p.GetUtcOffsets()[i-1].GetFromUs(), at+".from", "is not after the one before")
		p.UtcOffsets = append(p.UtcOffsets, &referencev1.UtcOffset{FromUs: from, OffsetS: int32(offset / time.Second)}) //nolint:gosec // within 14 hours
	}
	if y.QuoteTTL != "" {
		p.QuoteTtlS = c.ttl("quote_ttl", y.QuoteTTL)
	}
	c.rails(y, p)
	return p
}

func (c *check) rails(y policyYAML, p *referencev1.Policy) {
	if card := y.Card; card != nil {
		// An id that may be used again names the same order again: by then no connector may remember the first.
		c.must(y.RetentionDays > 30, "retention_days", "is not above 30, and the policy takes cards")
		p.Card = &referencev1.CardPolicy{OverCaptureBp: c.i32("card.over_capture_bp", card.OverCaptureBP), RefundFee: c.refundFee("card.refund_fee", card.RefundFee)}
		if card.AuthorizationTTL != "" {
			p.Card.AuthorizationTtlS = c.ttl("card.authorization_ttl", card.AuthorizationTTL)
		}
		if dispute := card.Dispute; dispute != nil {
			p.Card.Dispute = &referencev1.DisputePolicy{
				Fees:        c.charges("card.dispute.fees", dispute.Fees),
				FeeReturned: c.refundFee("card.dispute.fee_when_won", dispute.FeeWhenWon) == referencev1.RefundFee_REFUND_FEE_RETURNED,
			}
		}
		c.must(card.OverCaptureBP >= 0 && card.OverCaptureBP <= 10_000, "card.over_capture_bp", "is not within 0 to 10000")
		switch card.RefundRate {
		case "original":
			p.Card.RefundRate = referencev1.RefundRate_REFUND_RATE_ORIGINAL
		case "current":
			p.Card.RefundRate = referencev1.RefundRate_REFUND_RATE_CURRENT
		default:
			c.must(false, "card.refund_rate", "is not one of original, current")
		}
	}
	if y.Bank != nil {
		// A payout may come back for 30 days behind the bank's last news of it.
		c.must(y.RetentionDays > 60, "retention_days", "is not above 60, and the policy pays out by bank")
		p.Bank = &referencev1.BankPolicy{ReturnFee: c.refundFee("bank.return_fee", y.Bank.ReturnFee)}
	}
	if issuing := y.Issuing; issuing != nil {
		// A door takes what was transmitted within half a year. What is told again by then has to be known, or it is collected twice.
		c.must(y.RetentionDays > 366, "retention_days", "is not above 366, and the policy has cards of the house")
		p.Issuing = &referencev1.IssuingPolicy{StandInFloor: c.charges("issuing.stand_in_floor", issuing.StandInFloor), Bins: c.bins(issuing.BINs)}
		if issuing.AuthorizationTTL != "" {
			p.Issuing.AuthorizationTtlS = c.ttl("issuing.authorization_ttl", issuing.AuthorizationTTL)
		}
	}
}

// The lengths of what is issued under: a network gives 6 or 8 digits, and its processor may part them.
const (
	binDigitsMin = 4
	binDigitsMax = 11
)

// bins reads the leading digits of card numbers. One within another would say nothing, and is taken for a mistake.
func (c *check) bins(list []string) []string {
	for i, bin := range list {
		at := fmt.Sprintf("issuing.bins[%d]", i)
		c.must(len(bin) >= binDigitsMin && len(bin) <= binDigitsMax && strings.Trim(bin, "0123456789") == "", at, "is not 4 to 11 digits in quotation marks")
		for _, other := range list[:i] {
			c.must(!strings.HasPrefix(bin, other) && !strings.HasPrefix(other, bin), at, "is within an earlier one, or holds it")
		}
	}
	return list
}

// ttl reads for how long something holds.
func (c *check) ttl(at, text string) int64 {
	seconds := int64(c.duration(at, text) / time.Second)
	c.must(seconds > 0, at, "is not at least 1 s")
	return seconds
}

// charges reads one amount per currency.
func (c *check) charges(at string, list []chargeYAML) []*referencev1.Charge {
	var charges []*referencev1.Charge
	seen := map[string]bool{}
	for i, y := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		c.currency(at+".currency", y.Currency)
		c.must(!seen[y.Currency], at+".currency", "is that of an earlier one")
		seen[y.Currency] = true
		c.must(y.AmountMinor > 0, at+".amount_minor", "is not positive")
		charges = append(charges, &referencev1.Charge{Currency: y.Currency, AmountMinor: int64(y.AmountMinor)})
	}
	return charges
}

func (c *check) refundFee(at, word string) referencev1.RefundFee {
	switch word {
	case "kept":
		return referencev1.RefundFee_REFUND_FEE_KEPT
	case "returned":
		return referencev1.RefundFee_REFUND_FEE_RETURNED
	default:
		c.must(false, at, "is not one of kept, returned")
		return referencev1.RefundFee_REFUND_FEE_UNSPECIFIED
	}
}

func (c *check) fees(y feesYAML) *referencev1.FeeSchedule {
	s := &referencev1.FeeSchedule{Id: y.ID, Version: c.u32("version", y.Version)}
	kinds := map[string]paymentsv1.CommandKind{
		"payin":    paymentsv1.CommandKind_COMMAND_KIND_PAY_IN,
		"payout":   paymentsv1.CommandKind_COMMAND_KIND_PAY_OUT,
		"transfer": paymentsv1.CommandKind_COMMAND_KIND_TRANSFER,
	}
	for i, f := range y.Fees {
		at := fmt.Sprintf("fees[%d]", i)
		kind, ok := kinds[f.Kind]
		c.must(ok, at+".kind", "is not one of payin, payout, transfer")
		if f.Currency != "" {
			c.currency(at+".currency", f.Currency)
		} else {
			c.must(f.FixedMinor == 0 && f.MinMinor == 0 && f.MaxMinor == 0, at+".currency", "is not given, and fixed, min or max are")
		}
		c.must(f.FixedMinor >= 0, at+".fixed_minor", "is negative")
		c.must(f.RatePPM >= 0 && f.RatePPM <= 1_000_000, at+".rate_ppm", "is not within 0 to 1000000")
		c.must(f.MinMinor >= 0, at+".min_minor", "is negative")
		c.must(f.MaxMinor == 0 || f.MaxMinor >= f.MinMinor, at+".max_minor", "is below min_minor")
		s.Fees = append(s.Fees, &referencev1.Fee{
			Kind: kind, Method: f.Method, Currency: f.Currency, FixedMinor: int64(f.FixedMinor),
			RatePpm: c.i32(at+".rate_ppm", f.RatePPM), MinMinor: int64(f.MinMinor), MaxMinor: int64(f.MaxMinor),
		})
	}
	return s
}

func (c *check) rates(y ratesYAML) *referencev1.RateSheet {
	s := &referencev1.RateSheet{
		Id: y.ID, Version: c.u32("version", y.Version), AsOfUs: c.time("as_of", y.AsOf), ValidUntilUs: c.time("valid_until", y.ValidUntil),
	}
	c.must(s.GetValidUntilUs() > s.GetAsOfUs(), "valid_until", "is not after as_of")
	seen := map[[2]string]bool{}
	for i, r := range y.Rates {
		at := fmt.Sprintf("rates[%d]", i)
		pair := [2]string{c.currency(at+".source", r.Source), c.currency(at+".target", r.Target)}
		c.must(r.Source != r.Target, at+".target", "is the source")
		c.must(!seen[pair], at, "has the pair of an earlier one")
		seen[pair] = true
		c.must(r.SpreadBP >= 0 && r.SpreadBP < 10_000, at+".spread_bp", "is not within 0 to 9999")
		unscaled, scale := c.rate(at+".mid", r.Mid)
		s.Rates = append(s.Rates, &referencev1.Rate{
			Source: r.Source, Target: r.Target, MidUnscaled: unscaled, MidScale: scale, SpreadBp: c.i32(at+".spread_bp", r.SpreadBP),
		})
	}
	return s
}

// rate reads an exact decimal. Its scale leaves room for the four digits that a spread adds within 18, and its
// digits for the factor of 10,000 that a spread multiplies by.
func (c *check) rate(at, text string) (int64, uint32) {
	const scaleMax, unscaledMax = 14, math.MaxInt64 / 10_000
	d, err := decimal.NewFromString(text)
	if err != nil {
		c.must(false, at, "is not a decimal")
		return 0, 0
	}
	if len(text) > 32 || d.Exponent() > 0 || d.Exponent() < -scaleMax {
		c.must(false, at, "has an exponent or more than 14 decimals")
		return 0, 0
	}
	unscaled := d.Coefficient()
	if !unscaled.IsInt64() || unscaled.Int64() <= 0 || unscaled.Int64() > unscaledMax {
		c.must(false, at, "is not positive or has too many digits")
		return 0, 0
	}
	return unscaled.Int64(), uint32(-d.Exponent()) //nolint:gosec // 0 to 14
}

func (c *check) rules(y rulesYAML) *referencev1.RuleSet {
	s := &referencev1.RuleSet{Id: y.ID, Version: c.u32("version", y.Version)}
	kinds := map[string]referencev1.RuleKind{
		"velocity_minute":  referencev1.RuleKind_RULE_KIND_VELOCITY_MINUTE,
		"velocity_hour":    referencev1.RuleKind_RULE_KIND_VELOCITY_HOUR,
		"velocity_day":     referencev1.RuleKind_RULE_KIND_VELOCITY_DAY,
		"amount_history":   referencev1.RuleKind_RULE_KIND_AMOUNT_HISTORY,
		"new_counterparty": referencev1.RuleKind_RULE_KIND_NEW_COUNTERPARTY,
		"night":            referencev1.RuleKind_RULE_KIND_NIGHT,
	}
	seen := map[string]bool{}
	for i, r := range y.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		kind, ok := kinds[r.Kind]
		c.must(ok, at+".kind", "is not one of velocity_minute, velocity_hour, velocity_day, amount_history, new_counterparty, night")
		c.id(at+".id", r.ID)
		c.must(!seen[r.ID], at+".id", "is that of an earlier one")
		seen[r.ID] = true
		c.must(r.Version > 0, at+".version", "is not positive")
		c.must(r.Weight > 0 && r.Weight <= 1000, at+".weight", "is not within 1 to 1000")
		c.must(r.Threshold >= 0, at+".threshold", "is negative")
		c.must(r.Reason != "", at+".reason", "is not given")
		c.must(r.MinHistory == 0 || r.Kind == "amount_history", at+".min_history", "belongs to amount_history only")
		rule := &referencev1.Rule{
			Id: r.ID, Version: c.u32(at+".version", r.Version), Kind: kind, Weight: c.u32(at+".weight", r.Weight),
			Threshold: int64(r.Threshold), MinHistory: c.u32(at+".min_history", r.MinHistory), Reason: r.Reason,
		}
		if r.Kind == "night" {
			rule.FromMinute, rule.ToMinute = c.minute(at+".from", r.From), c.minute(at+".to", r.To)
			c.must(rule.GetFromMinute() != rule.GetToMinute(), at+".to", "is from")
		} else {
			c.must(r.From == "" && r.To == "", at+".from", "belongs to night only")
		}
		s.Rules = append(s.Rules, rule)
	}
	return s
}
