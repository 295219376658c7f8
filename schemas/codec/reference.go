package codec

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caudalpay/caudal/processors/calendar"
	"github.com/caudalpay/caudal/processors/compliance"
	"github.com/caudalpay/caudal/processors/fees"
	"github.com/caudalpay/caudal/processors/fraud"
	"github.com/caudalpay/caudal/processors/fx"
	"github.com/caudalpay/caudal/processors/money"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/processors/policy"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// Ref is the key of a reference document: id@version.
func Ref(id string, version uint32) string { return id + "@" + strconv.FormatUint(uint64(version), 10) }

// checkRef holds a document to the key it was found under.
func checkRef(ref, id string, version uint32) error {
	if id == "" || version == 0 || Ref(id, version) != ref {
		return refuse("document %s under key %q", Ref(id, version), ref)
	}
	return nil
}

func splitRef(ref string) (id string, version uint32) {
	id, text, _ := strings.Cut(ref, "@")
	n, _ := strconv.ParseUint(text, 10, 32)
	return id, uint32(n)
}

// DecodePolicy reads a row of policies.
func DecodePolicy(ref string, b []byte) (*policy.Policy, error) {
	var m referencev1.Policy
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	if err := checkRef(ref, m.GetId(), m.GetVersion()); err != nil {
		return nil, err
	}
	mode, err := enum[policy.FraudMode](m.GetFraudMode(), referencev1.FraudMode_name)
	if err != nil {
		return nil, err
	}
	if m.GetQuoteTtlS() < 0 || m.GetQuoteTtlS() > TimeMaxUS/1_000_000 {
		return nil, refuse("quotes of %d s", m.GetQuoteTtlS())
	}
	if m.GetReviewTimeoutS() < 0 || m.GetReviewTimeoutS() > TimeMaxUS/1_000_000 || m.GetRetentionDays() < 0 {
		return nil, refuse("review timeout %d s, retention %d days", m.GetReviewTimeoutS(), m.GetRetentionDays())
	}
	p := &policy.Policy{
		ID: m.GetId(), Version: m.GetVersion(), Tenant: m.GetTenant(), LimitCurrency: m.GetLimitCurrency(), FraudMode: mode,
		ReviewScore: m.GetReviewScore(), DeclineScore: m.GetDeclineScore(),
		ReviewTimeoutUS: m.GetReviewTimeoutS() * 1_000_000, RetentionDays: m.GetRetentionDays(), QuoteTTLUS: m.GetQuoteTtlS() * 1_000_000,
	}
	for _, l := range m.GetLimits() {
		level, err := small("KYC level", l.GetLevel(), 3)
		if err != nil {
			return nil, err
		}
		if l.GetDayMinor() < 0 || l.GetMonthMinor() < 0 {
			return nil, refuse("limits of level %d", level)
		}
		p.Limits = append(p.Limits, policy.KYCLimit{Level: level, DayMinor: l.GetDayMinor(), MonthMinor: l.GetMonthMinor()})
	}
	if err := policyRails(&m, p); err != nil {
		return nil, err
	}
	last := int64(math.MinInt64)
	for _, o := range m.GetUtcOffsets() {
		if o.GetFromUs() < last || o.GetOffsetS() < -86_400 || o.GetOffsetS() > 86_400 {
			return nil, refuse("UTC offset %d s from %d", o.GetOffsetS(), o.GetFromUs())
		}
		last = o.GetFromUs()
		p.UTCOffsets = append(p.UTCOffsets, calendar.UTCOffset{FromUS: o.GetFromUs(), OffsetS: o.GetOffsetS()})
	}
	return p, nil
}

// policyRails reads what holds for payments that a rail executes.
func policyRails(m *referencev1.Policy, p *policy.Policy) error {
	if c := m.GetCard(); c != nil {
		if c.GetAuthorizationTtlS() < 0 || c.GetAuthorizationTtlS() > TimeMaxUS/1_000_000 || c.GetOverCaptureBp() < 0 || c.GetOverCaptureBp() > 10_000 {
			return refuse("authorisation of %d s, over-capture of %d basis points", c.GetAuthorizationTtlS(), c.GetOverCaptureBp())
		}
		p.Card = &policy.Card{
			AuthorizationTTLUS: c.GetAuthorizationTtlS() * 1_000_000, OverCaptureBP: c.GetOverCaptureBp(),
			FeeReturned: c.GetRefundFee() == referencev1.RefundFee_REFUND_FEE_RETURNED,
			CurrentRate: c.GetRefundRate() == referencev1.RefundRate_REFUND_RATE_CURRENT,
		}
		if err := policyDispute(c.GetDispute(), p.Card); err != nil {
			return err
		}
	}
	if i := m.GetIssuing(); i != nil {
		if i.GetAuthorizationTtlS() < 0 || i.GetAuthorizationTtlS() > TimeMaxUS/1_000_000 {
			return refuse("authorization of %d s", i.GetAuthorizationTtlS())
		}
		floor, err := chargesFrom("stand-in floor", i.GetStandInFloor())
		if err != nil {
			return err
		}
		p.Issuing = &policy.Issuing{AuthorizationTTLUS: i.GetAuthorizationTtlS() * 1_000_000, StandInFloor: floor, BINs: i.GetBins()}
	}
	if b := m.GetBank(); b != nil {
		p.Bank = &policy.Bank{FeeReturned: b.GetReturnFee() == referencev1.RefundFee_REFUND_FEE_RETURNED}
	}
	return nil
}

// policyDispute reads what a dispute costs.
func policyDispute(m *referencev1.DisputePolicy, card *policy.Card) error {
	if m == nil {
		return nil
	}
	fees, err := chargesFrom("dispute fee", m.GetFees())
	if err != nil {
		return err
	}
	card.Dispute = &policy.Dispute{Fees: fees, FeeReturned: m.GetFeeReturned()}
	return known(m)
}

// chargesFrom reads amounts, one of a currency.
func chargesFrom(what string, in []*referencev1.Charge) (out []policy.Charge, err error) {
	for i, c := range in {
		if !currencyFits(c.GetCurrency()) || c.GetAmountMinor() < 0 {
			return nil, refuse("%s of %d %q", what, c.GetAmountMinor(), c.GetCurrency())
		}
		if slices.ContainsFunc(in[:i], func(o *referencev1.Charge) bool { return o.GetCurrency() == c.GetCurrency() }) {
			return nil, refuse("%s in %s twice", what, c.GetCurrency())
		}
		out = append(out, policy.Charge{Currency: c.GetCurrency(), AmountMinor: c.GetAmountMinor()})
	}
	return out, nil
}

func chargesTo(in []policy.Charge) (out []*referencev1.Charge) {
	for _, c := range in {
		out = append(out, &referencev1.Charge{Currency: c.Currency, AmountMinor: c.AmountMinor})
	}
	return out
}

func refundFee(returned bool) referencev1.RefundFee {
	if returned {
		return referencev1.RefundFee_REFUND_FEE_RETURNED
	}
	return referencev1.RefundFee_REFUND_FEE_KEPT
}

// EncodePolicy writes a row of policies. The ids of the other documents that the ingress pins are not the stages' business
// and are given beside it.
func EncodePolicy(p *policy.Policy, ids payment.Pins) ([]byte, error) {
	m := &referencev1.Policy{
		Id: p.ID, Version: p.Version, Tenant: p.Tenant, LimitCurrency: p.LimitCurrency, FraudMode: referencev1.FraudMode(p.FraudMode),
		ReviewScore: p.ReviewScore, DeclineScore: p.DeclineScore, ReviewTimeoutS: p.ReviewTimeoutUS / 1_000_000, RetentionDays: p.RetentionDays,
		QuoteTtlS: p.QuoteTTLUS / 1_000_000, FeesId: ids.Fees, RatesId: ids.Rates, RulesId: ids.Rules, BlocklistId: ids.Blocklist,
	}
	if c := p.Card; c != nil {
		m.Card = &referencev1.CardPolicy{
			AuthorizationTtlS: c.AuthorizationTTLUS / 1_000_000, OverCaptureBp: c.OverCaptureBP, RefundFee: refundFee(c.FeeReturned),
			RefundRate: referencev1.RefundRate_REFUND_RATE_ORIGINAL,
		}
		if c.CurrentRate {
			m.Card.RefundRate = referencev1.RefundRate_REFUND_RATE_CURRENT
		}
	}
	if c := p.Card; c != nil && c.Dispute != nil {
		m.Card.Dispute = &referencev1.DisputePolicy{Fees: chargesTo(c.Dispute.Fees), FeeReturned: c.Dispute.FeeReturned}
	}
	if b := p.Bank; b != nil {
		m.Bank = &referencev1.BankPolicy{ReturnFee: refundFee(b.FeeReturned)}
	}
	if i := p.Issuing; i != nil {
		m.Issuing = &referencev1.IssuingPolicy{AuthorizationTtlS: i.AuthorizationTTLUS / 1_000_000, StandInFloor: chargesTo(i.StandInFloor), Bins: i.BINs}
	}
	for _, l := range p.Limits {
		m.Limits = append(m.Limits, &referencev1.KycLimit{Level: uint32(l.Level), DayMinor: l.DayMinor, MonthMinor: l.MonthMinor})
	}
	for _, o := range p.UTCOffsets {
		m.UtcOffsets = append(m.UtcOffsets, &referencev1.UtcOffset{FromUs: o.FromUS, OffsetS: o.OffsetS})
	}
	return marshal(m)
}

// DecodeFees reads a row of fee-schedules.
func DecodeFees(ref string, b []byte) (*fees.Schedule, error) {
	var m referencev1.FeeSchedule
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	if err := checkRef(ref, m.GetId(), m.GetVersion()); err != nil {
		return nil, err
	}
	s := &fees.Schedule{Ref: ref}
	for _, f := range m.GetFees() {
		kind, err := enum[payment.Kind](f.GetKind(), paymentsv1.CommandKind_name)
		if err != nil {
			return nil, err
		}
		if f.GetFixedMinor() < 0 || f.GetRatePpm() < 0 || f.GetMinMinor() < 0 || f.GetMaxMinor() < 0 {
			return nil, refuse("negative fee for %s", kind)
		}
		s.Fees = append(s.Fees, fees.Fee{
			Kind: kind, Method: f.GetMethod(), Currency: f.GetCurrency(), FixedMinor: f.GetFixedMinor(), RatePPM: f.GetRatePpm(),
			MinMinor: f.GetMinMinor(), MaxMinor: f.GetMaxMinor(),
		})
	}
	return s, nil
}

// EncodeFees writes a row of fee-schedules.
func EncodeFees(s *fees.Schedule) ([]byte, error) {
	m := &referencev1.FeeSchedule{}
	m.Id, m.Version = splitRef(s.Ref)
	for _, f := range s.Fees {
		m.Fees = append(m.Fees, &referencev1.Fee{
			Kind: paymentsv1.CommandKind(f.Kind), Method: f.Method, Currency: f.Currency, FixedMinor: f.FixedMinor, RatePpm: f.RatePPM,
			MinMinor: f.MinMinor, MaxMinor: f.MaxMinor,
		})
	}
	return marshal(m)
}

// DecodeRates reads a row of fx-rates.
func DecodeRates(ref string, b []byte) (*fx.Sheet, error) {
	var m referencev1.RateSheet
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	if err := checkRef(ref, m.GetId(), m.GetVersion()); err != nil {
		return nil, err
	}
	s := &fx.Sheet{Ref: ref, AsOfUS: m.GetAsOfUs(), ValidUntilUS: m.GetValidUntilUs(), Rates: make(map[fx.Pair]fx.Quote, len(m.GetRates()))}
	for _, r := range m.GetRates() {
		pair := fx.Pair{Source: r.GetSource(), Target: r.GetTarget()}
		if _, twice := s.Rates[pair]; twice {
			return nil, refuse("rate %s to %s twice", pair.Source, pair.Target)
		}
		if r.GetMidScale() > 18 || r.GetMidUnscaled() <= 0 || r.GetSpreadBp() < 0 || r.GetSpreadBp() >= 10_000 {
			return nil, refuse("rate %s to %s", pair.Source, pair.Target)
		}
		s.Rates[pair] = fx.Quote{
			Mid:      money.Rate{Unscaled: r.GetMidUnscaled(), Scale: uint8(r.GetMidScale())}, //nolint:gosec // at most 18
			SpreadBP: r.GetSpreadBp(),
		}
	}
	return s, nil
}

// EncodeRates writes a row of fx-rates, pairs in order.
func EncodeRates(s *fx.Sheet) ([]byte, error) {
	m := &referencev1.RateSheet{AsOfUs: s.AsOfUS, ValidUntilUs: s.ValidUntilUS}
	m.Id, m.Version = splitRef(s.Ref)
	for pair, q := range s.Rates {
		m.Rates = append(m.Rates, &referencev1.Rate{
			Source: pair.Source, Target: pair.Target, MidUnscaled: q.Mid.Unscaled, MidScale: uint32(q.Mid.Scale), SpreadBp: q.SpreadBP,
		})
	}
	slices.SortFunc(m.GetRates(), func(a, b *referencev1.Rate) int {
		return cmp.Or(cmp.Compare(a.GetSource(), b.GetSource()), cmp.Compare(a.GetTarget(), b.GetTarget()))
	})
	return marshal(m)
}

// DecodeRules reads a row of rules.
func DecodeRules(ref string, b []byte) (*fraud.RuleSet, error) {
	var m referencev1.RuleSet
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	if err := checkRef(ref, m.GetId(), m.GetVersion()); err != nil {
		return nil, err
	}
	s := &fraud.RuleSet{Ref: ref}
	for _, r := range m.GetRules() {
		kind, err := enum[fraud.RuleKind](r.GetKind(), referencev1.RuleKind_name)
		if err != nil || kind == 0 {
			return nil, refuse("rule %s of kind %d", r.GetId(), r.GetKind())
		}
		if err := known(r); err != nil {
			return nil, err
		}
		s.Rules = append(s.Rules, fraud.Rule{
			ID: r.GetId(), Version: r.GetVersion(), Kind: kind, Weight: r.GetWeight(), Threshold: r.GetThreshold(),
			MinHistory: r.GetMinHistory(), FromMinute: r.GetFromMinute(), ToMinute: r.GetToMinute(), Reason: r.GetReason(),
		})
	}
	return s, nil
}

// EncodeRules writes a row of rules.
func EncodeRules(s *fraud.RuleSet) ([]byte, error) {
	m := &referencev1.RuleSet{}
	m.Id, m.Version = splitRef(s.Ref)
	for _, r := range s.Rules {
		m.Rules = append(m.Rules, &referencev1.Rule{
			Id: r.ID, Version: r.Version, Kind: referencev1.RuleKind(r.Kind), Weight: r.Weight, Threshold: r.Threshold,
			MinHistory: r.MinHistory, FromMinute: r.FromMinute, ToMinute: r.ToMinute, Reason: r.Reason,
		})
	}
	return marshal(m)
}

// DecodeBlocklist reads a row of blocklists.
func DecodeBlocklist(ref string, b []byte) (*compliance.Blocklist, error) {
	var m referencev1.Blocklist
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	if err := checkRef(ref, m.GetId(), m.GetVersion()); err != nil {
		return nil, err
	}
	l := &compliance.Blocklist{
		Ref: ref, Countries: make(map[string]struct{}, len(m.GetCountries())), Parties: make(map[string]struct{}, len(m.GetPartyDigests())),
	}
	for _, c := range m.GetCountries() {
		if c == "" {
			return nil, refuse("empty country")
		}
		l.Countries[c] = struct{}{}
	}
	for _, d := range m.GetPartyDigests() {
		if len(d) == 0 {
			return nil, refuse("empty digest") // it would block whoever has none
		}
		l.Parties[string(d)] = struct{}{}
	}
	return l, nil
}

// EncodeBlocklist writes a row of blocklists, in order.
func EncodeBlocklist(l *compliance.Blocklist) ([]byte, error) {
	m := &referencev1.Blocklist{}
	m.Id, m.Version = splitRef(l.Ref)
	for c := range l.Countries {
		m.Countries = append(m.Countries, c)
	}
	for d := range l.Parties {
		m.PartyDigests = append(m.PartyDigests, []byte(d))
	}
	slices.Sort(m.GetCountries())
	slices.SortFunc(m.GetPartyDigests(), slices.Compare)
	return marshal(m)
}
