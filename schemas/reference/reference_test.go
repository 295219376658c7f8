package reference_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/schemas/codec"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	"github.com/caudalpay/caudal/schemas/reference"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
	"github.com/caudalpay/caudal/schemas/topics"
)

func sample(t *testing.T) map[string]reference.Message {
	t.Helper()
	documents, err := reference.Sample()
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]reference.Message{}
	for _, d := range documents {
		byKey[d.Topic+" "+d.Key()] = d.Message
	}
	return byKey
}

func TestSampleIsWhatTheDocsSay(t *testing.T) {
	documents := sample(t)
	standard, ok := documents[topics.Policies+" standard@1"].(*referencev1.Policy)
	if !ok {
		t.Fatal("no policy standard@1")
	}
	want := []*referencev1.KycLimit{
		{Level: 0, DayMinor: 500_00, MonthMinor: 2_000_00},
		{Level: 1, DayMinor: 5_000_00, MonthMinor: 20_000_00},
		{Level: 2, DayMinor: 50_000_00, MonthMinor: 500_000_00},
		{Level: 3, DayMinor: 500_000_00, MonthMinor: 5_000_000_00},
	}
	for i, l := range standard.GetLimits() {
		if !proto.Equal(l, want[i]) {
			t.Errorf("limits[%d]: %v, want %v", i, l, want[i])
		}
	}
	if len(standard.GetLimits()) != len(want) || standard.GetLimitCurrency() != "BRL" || standard.GetFraudMode() != referencev1.FraudMode_FRAUD_MODE_ENFORCE ||
		standard.GetReviewTimeoutS() != 86400 || standard.GetUtcOffsets()[0].GetOffsetS() != -10800 || standard.GetUtcOffsets()[0].GetFromUs() != 0 {
		t.Errorf("standard: %v", standard)
	}
	imports, ok := documents[topics.Policies+" import@1"].(*referencev1.Policy)
	if !ok || len(imports.GetLimits()) != 0 || imports.GetFeesId() != "" || imports.GetBlocklistId() != "" ||
		imports.GetFraudMode() != referencev1.FraudMode_FRAUD_MODE_MONITOR || imports.GetRulesId() != "standard" {
		t.Errorf("import: %v", imports)
	}
	if b, ok := documents[topics.Blocklists+" standard@1"].(*referencev1.Blocklist); !ok || len(b.GetCountries())+len(b.GetPartyDigests()) != 0 {
		t.Errorf("blocklist: %v", b)
	}
	kinds := map[referencev1.RuleKind]bool{}
	rules, _ := documents[topics.Rules+" standard@1"].(*referencev1.RuleSet)
	for _, r := range rules.GetRules() {
		kinds[r.GetKind()] = true
	}
	if len(kinds) != len(referencev1.RuleKind_name)-1 {
		t.Errorf("rules of %d kinds", len(kinds))
	}
}

func TestSampleRatesAreExactBothWaysAndConsistent(t *testing.T) {
	sheet, ok := sample(t)[topics.FXRates+" sample@1"].(*referencev1.RateSheet)
	if !ok {
		t.Fatal("no sheet")
	}
	type pair struct{ source, target string }
	mids := map[pair]*referencev1.Rate{}
	for _, r := range sheet.GetRates() {
		mids[pair{r.GetSource(), r.GetTarget()}] = r
	}
	currencies := []string{"BRL", "USD", "EUR", "CZK", "JPY", "KWD", "CLP"}
	for _, s := range currencies {
		for _, x := range currencies {
			if s == x {
				continue
			}
			there, back := mids[pair{s, x}], mids[pair{x, s}]
			if there == nil || back == nil {
				t.Fatalf("%s/%s is not there both ways", s, x)
			}
			product := float64(there.GetMidUnscaled()) / pow10(there.GetMidScale()) * float64(back.GetMidUnscaled()) / pow10(back.GetMidScale())
			if product < 0.9999 || product > 1.0001 {
				t.Errorf("%s/%s there and back is %f", s, x, product)
			}
		}
	}
	if r := mids[pair{"USD", "BRL"}]; r.GetMidUnscaled() != 5421 || r.GetMidScale() != 3 || r.GetSpreadBp() != 60 {
		t.Errorf("USD/BRL: %v", r)
	}
}

func pow10(n uint32) float64 {
	p := 1.0
	for range n {
		p *= 10
	}
	return p
}

func TestRoundTripByKey(t *testing.T) {
	documents, err := reference.Sample()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		value, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := reference.Decode(d.Topic, d.Key(), value)
		if err != nil || !proto.Equal(got.Message, d.Message) {
			t.Fatalf("%s: %v, %v", d.Key(), got, err)
		}
		if _, err := reference.Decode(d.Topic, "other@1", value); err == nil {
			t.Fatalf("%s stands under another key", d.Key())
		}
		if _, err := reference.Decode(topics.Commands, d.Key(), value); err == nil {
			t.Fatal("commands hold reference data")
		}
		if _, err := reference.Decode(d.Topic, d.Key(), []byte{0xff}); err == nil {
			t.Fatal("decoded garbage")
		}
	}
}

const (
	policyText = `kind: policy
id: p
version: 1
limit_currency: BRL
limits:
  - {level: 0, day_minor: 1, month_minor: 2}
  - {level: 1, day_minor: 1, month_minor: 2}
  - {level: 2, day_minor: 1, month_minor: 2}
  - {level: 3, day_minor: 1, month_minor: 2}
fraud: {mode: enforce, review_score: 1, decline_score: 2}
rules: r
utc_offsets:
  - {from: "1970-01-01T00:00:00Z", offset: -3h}
review_timeout: 24h
retention_days: 400
quote_ttl: 15m
card:
  authorization_ttl: 168h
  refund_fee: kept
  refund_rate: original
  dispute:
    fees: [{currency: BRL, amount_minor: 25}, {currency: USD, amount_minor: 5}]
    fee_when_won: returned
issuing: {authorization_ttl: 48h, stand_in_floor: [{currency: BRL, amount_minor: 500}], bins: ["400012", "42424242"]}
`
	feesText  = "kind: fee_schedule\nid: f\nversion: 1\nfees:\n  - {kind: payin, currency: BRL, fixed_minor: 5, rate_ppm: 10, min_minor: 1, max_minor: 9}\n"
	ratesText = "kind: rate_sheet\nid: s\nversion: 1\nas_of: 2026-01-01T00:00:00Z\nvalid_until: 2026-01-02T00:00:00Z\nrates:\n  - {source: BRL, target: USD, mid: \"0.18\", spread_bp: 10}\n"
	rulesText = "kind: rule_set\nid: r\nversion: 1\nrules:\n  - {id: n, version: 1, kind: night, weight: 10, threshold: 1, from: \"22:00\", to: \"06:00\", reason: late}\n"
	listText  = "kind: blocklist\nid: b\nversion: 1\ncountries: [KP]\nparty_digests: [\"" + "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" + "\"]\n"
)

func TestParseRefusesAndNamesThePath(t *testing.T) {
	for _, good := range []string{policyText, feesText, ratesText, rulesText, listText} {
		if _, err := reference.Parse("good.yaml", []byte(good)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ text, old, change, want string }{
		{policyText, "kind: policy", "kind: polisy", "kind: is not one of"},
		{policyText, "version: 1", "version: 0", "version: is not positive"},
		{policyText, "id: p", "id: P@1", "id: is not 1 to 64"},
		{policyText, "id: p", "id: p\nid: q", "id"},
		{policyText, "BRL", "XXX", "limit_currency: is no ISO 4217"},
		{policyText, "level: 2", "level: 5", "limits[2].level"},
		{policyText, "{level: 3, day_minor: 1", "{level: 3, day_minor: -1", "limits[3].day_minor: is negative"},
		{policyText, "{level: 3, day_minor: 1", "{level: 3, day_minor: 1.5", "is no integer"},
		{policyText, "{level: 3, day_minor: 1", "{level: 3, day_minor: 9223372036854775808", "is no integer"},
		{policyText, "{level: 3, day_minor: 1", "{level: 3, day_minor: 3", "limits[3].month_minor: is below day_minor"},
		{policyText, "{level: 1, day_minor: 1, month_minor: 2}", "{level: 1, day_minor: 9, month_minor: 9}", "limits[2]: is below the level before"},
		{policyText, "  - {level: 3, day_minor: 1, month_minor: 2}\n", "", "limits: are neither none"},
		{policyText, "mode: enforce", "mode: enforced", "fraud.mode"},
		{policyText, "review_score: 1", "review_score: 2", "fraud.review_score: is not below"},
		{policyText, "decline_score: 2", "decline_score: 2000", "fraud.decline_score"},
		{policyText, "offset: -3h", "offset: -30h", "utc_offsets[0].offset"},
		{policyText, "offset: -3h", "offset: \"-3\"", "utc_offsets[0].offset"},
		{policyText, "1970-01-01T00:00:00Z", "1970", "utc_offsets[0].from"},
		{policyText, "24h", "0s", "review_timeout: is not at least 1 s"},
		{policyText, "retention_days: 400", "retention_days: 0", "retention_days"},
		{policyText, "retention_days: 400", "retention_days: 400\nfee: x", "fee"},
		{policyText, "retention_days: 400", "retention_days: 366", "retention_days: is not above 366"},
		{policyText, "quote_ttl: 15m", "quote_ttl: 0s", "quote_ttl: is not at least 1 s"},
		{policyText, "quote_ttl: 15m", "quote_ttl: 900", "quote_ttl: is no duration"},
		{policyText, "quote_ttl: 15m", "quote_tll: 15m", "quote_tll"},
		{policyText, "168h", "-168h", "card.authorization_ttl: is not at least 1 s"},
		{policyText, "fees: [{currency: BRL", "fees: [{currency: BRX", "card.dispute.fees[0].currency: is no ISO 4217"},
		{policyText, "currency: USD", "currency: BRL", "card.dispute.fees[1].currency: is that of an earlier one"},
		{policyText, "amount_minor: 5}]", "amount_minor: 0}]", "card.dispute.fees[1].amount_minor: is not positive"},
		{policyText, "amount_minor: 5}]", "amount_minor: 0.5}]", "is no integer"},
		{policyText, "fee_when_won: returned", "fee_when_won: yes", "card.dispute.fee_when_won: is not one of kept, returned"},
		{policyText, "    fee_when_won: returned\n", "", "card.dispute.fee_when_won"},
		{policyText, "48h", "0h", "issuing.authorization_ttl: is not at least 1 s"},
		{policyText, "amount_minor: 500}", "amount_minor: -500}", "issuing.stand_in_floor[0].amount_minor: is not positive"},
		{policyText, "stand_in_floor", "floor", "floor"},
		{policyText, `"400012"`, `"400"`, "issuing.bins[0]: is not 4 to 11 digits"},
		{policyText, `"400012"`, `"400012739186"`, "issuing.bins[0]: is not 4 to 11 digits"},
		{policyText, `"400012"`, `"4000-12"`, "issuing.bins[0]: is not 4 to 11 digits"},
		{policyText, `"400012"`, `"424242"`, "issuing.bins[1]: is within an earlier one"},
		{policyText, `"42424242"`, `"4000"`, "issuing.bins[1]: is within an earlier one, or holds it"},
		{feesText, "payin", "refund", "fees[0].kind"},
		{feesText, "currency: BRL, ", "", "fees[0].currency: is not given"},
		{feesText, "rate_ppm: 10", "rate_ppm: 1000001", "fees[0].rate_ppm"},
		{feesText, "max_minor: 9", "max_minor: 0, nim_minor: 3", "nim_minor"},
		{feesText, "min_minor: 1", "min_minor: 10", "fees[0].max_minor: is below min_minor"},
		{feesText, "fixed_minor: 5", "fixed_minor: -5", "fees[0].fixed_minor"},
		{ratesText, "0.18", "0,18", "rates[0].mid: is not a decimal"},
		{ratesText, "0.18", "-0.18", "rates[0].mid: is not positive"},
		{ratesText, "0.18", "0", "rates[0].mid: is not positive"},
		{ratesText, "0.18", "1e1000000000", "rates[0].mid"},
		{ratesText, "0.18", "0.123456789012345", "rates[0].mid: has an exponent or more than 14"},
		{ratesText, "0.18", "922337203685477", ""},
		{ratesText, "0.18", "922337203685478.0", "rates[0].mid: is not positive or has too many"},
		{ratesText, "target: USD", "target: BRL", "rates[0].target: is the source"},
		{ratesText, "spread_bp: 10", "spread_bp: 10000", "rates[0].spread_bp"},
		{ratesText, "2026-01-02", "2025-01-02", "valid_until: is not after as_of"},
		{rulesText, "kind: night", "kind: velocity_hour", "rules[0].from: belongs to night only"},
		{rulesText, "22:00", "06:00", "rules[0].to: is from"},
		{rulesText, "22:00", "25:00", "rules[0].from: is no time of day"},
		{rulesText, "weight: 10", "weight: 1001", "rules[0].weight"},
		{rulesText, "threshold: 1", "threshold: -1", "rules[0].threshold"},
		{rulesText, "reason: late", "reason: \"\"", "rules[0].reason"},
		{rulesText, "threshold: 1", "threshold: 1, min_history: 2", "rules[0].min_history"},
		{listText, "KP", "kp", "countries[0]"},
		{listText, "0011", "", "party_digests[0]"},
	} {
		if !strings.Contains(c.text, c.old) {
			t.Fatalf("nothing to change: %q", c.old)
		}
		_, err := reference.Parse("bad.yaml", []byte(strings.Replace(c.text, c.old, c.change, 1)))
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.change, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "bad.yaml: ") {
			t.Errorf("%s: want %q, got %v", c.change, c.want, err)
		}
	}
}

// What the documents say of quotes, disputes and cards issued reaches the domain as it is written.
func TestPolicyTellsOfContests(t *testing.T) {
	d, err := reference.Parse("good.yaml", []byte(policyText))
	if err != nil {
		t.Fatal(err)
	}
	value, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := codec.DecodePolicy("p@1", value)
	if err != nil {
		t.Fatal(err)
	}
	const hourUS = 3_600_000_000
	if p.QuoteTTLUS != hourUS/4 || p.Card.AuthorizationTTLUS != 168*hourUS || p.Card.Dispute.Fee("USD") != 5 || p.Card.Dispute.Fee("EUR") != 0 ||
		!p.Card.Dispute.FeeReturned || p.Issuing.AuthorizationTTLUS != 48*hourUS || len(p.Issuing.StandInFloor) != 1 || len(p.Issuing.BINs) != 2 || p.Issuing.BINs[1] != "42424242" {
		t.Errorf("%+v", p)
	}
	kept, err := reference.Parse("kept.yaml", []byte(strings.Replace(policyText, "fee_when_won: returned", "fee_when_won: kept", 1)))
	if m, ok := kept.Message.(*referencev1.Policy); err != nil || !ok || m.GetCard().GetDispute().GetFeeReturned() {
		t.Errorf("%v, %v", kept, err)
	}
}

func TestTwoOfOneKeyAreRefused(t *testing.T) {
	files := fstest.MapFS{"a.yaml": {Data: []byte(feesText)}, "b.yaml": {Data: []byte(feesText)}}
	if _, err := reference.ParseFS(files, "*.yaml"); err == nil || !strings.Contains(err.Error(), "f@1 again") {
		t.Fatalf("got %v", err)
	}
}

func TestFeeKindsAreThoseOfCommands(t *testing.T) {
	fees, ok := sample(t)[topics.FeeSchedules+" standard@1"].(*referencev1.FeeSchedule)
	if !ok || fees.GetFees()[0].GetKind() != paymentsv1.CommandKind_COMMAND_KIND_PAY_IN || fees.GetFees()[0].GetMethod() != "cash" {
		t.Fatalf("fees: %v", fees)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{policyText, feesText, ratesText, rulesText, listText} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := reference.Parse("fuzz", raw)
		if err != nil {
			return
		}
		value, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reference.Decode(d.Topic, d.Key(), value); err != nil {
			t.Fatal(err)
		}
	})
}
