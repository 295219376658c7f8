package clickhouse_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	chdriver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/embedtest"
	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	schema "github.com/caudalpay/caudal/schemas/sql/clickhouse"
	"github.com/caudalpay/caudal/sinks/clickhouse"
	"github.com/caudalpay/caudal/sinks/decisionlog"
	"github.com/caudalpay/caudal/sinks/decisionlog/logtest"
)

const partitions = 4

// The child of a kill test is this binary again.
const childEnv = "CAUDAL_TEST_SINK_CHILD"

type childConfig struct {
	Socket, Database, Username, Password string
	Brokers                              []string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		fmt.Fprintln(os.Stderr, runChild(text))
		os.Exit(1)
	}
	embedtest.Main(m)
}

func runChild(text string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	opts := chdriver.Options{
		Protocol: chdriver.HTTP, Addr: []string{"clickhouse:80"},
		Auth: chdriver.Auth{Database: c.Database, Username: c.Username, Password: c.Password},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}
	sink, err := clickhouse.New(config(opts, c.Brokers, 300))
	if err != nil {
		return err
	}
	return sink.Run(context.Background())
}

func config(opts chdriver.Options, brokers []string, recordsMax int) clickhouse.Config {
	return clickhouse.Config{
		ClickHouse: opts,
		Config: decisionlog.Config{
			Brokers: brokers, Partitions: []int32{0, 1, 2, 3}, RecordsMax: recordsMax, Linger: 20 * time.Millisecond,
			Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Registry: prometheus.NewRegistry(),
		},
	}
}

func start(t testing.TB, cfg clickhouse.Config) (*clickhouse.Sink, func() error) {
	t.Helper()
	sink, err := clickhouse.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sink.Run(ctx) }()
	stop := func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(20 * time.Second):
			return errors.New("the sink does not stop")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, clickhouse.ErrNotOwner) {
			t.Error(err)
		}
	})
	return sink, stop
}

func drain(t testing.TB, sink *clickhouse.Sink, brokers []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sink.Drained(ctx, logtest.Ends(t, brokers)); err != nil {
		t.Fatal(err)
	}
}

// lines runs a query whose rows are one key and one text.
func lines(t testing.TB, opts chdriver.Options, query string) map[string]string {
	t.Helper()
	conn, err := chdriver.Open(&opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // it has answered
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }() // read to the end
	m := map[string]string{}
	for rows.Next() {
		var key, value string
		if err := rows.Scan(&key, &value); err != nil {
			t.Fatal(err)
		}
		if _, ok := m[key]; ok {
			t.Fatalf("two rows of %s", key)
		}
		m[key] = value
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return m
}

// mustEqual reads the tables themselves, not the views that drop doubles: the tokens alone must have kept them out.
func mustEqual(t testing.TB, log []logtest.Logged, opts chdriver.Options) {
	t.Helper()
	facts, postings, minutes, statuses := map[string]string{}, map[string]string{}, map[string]string{}, map[string]*state{}
	type sum struct{ n, amount, fee int64 }
	sums := map[string]sum{}
	for _, d := range log {
		if d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_TICK {
			continue
		}
		at := fmt.Sprint(d.Partition, " ", d.Offset)
		kind, outcome := payment.Kind(d.GetKind()).String(), payment.Outcome(d.GetOutcome()).String()
		var reasons, hits []string
		for _, r := range d.GetReasons() {
			reasons = append(reasons, payment.Reason(r).String())
		}
		for _, h := range d.GetRuleHits() {
			hits = append(hits, fmt.Sprint(h.GetRule(), "=", h.GetWeight()))
		}
		n := 0
		for _, j := range d.GetJournals() {
			for _, p := range j.GetPostings() {
				postings[fmt.Sprint(at, " ", n)] = strings.Join([]string{
					strings.ToLower(strings.TrimPrefix(j.GetKind().String(), "JOURNAL_KIND_")),
					strings.ToLower(strings.TrimPrefix(p.GetLayer().String(), "LAYER_")),
					p.GetAccount(), p.GetCurrency(), fmt.Sprint(p.GetAmountMinor()), fmt.Sprint(d.GetEffectiveDate()), kind, d.GetMerchant(),
					d.GetPaymentId(), fmt.Sprint(d.GetAcceptedAtUs()),
				}, " ")
				n++
			}
		}
		files := ""
		for _, f := range d.GetEvidence() {
			files += f.GetKind() + ";"
		}
		status := ""
		if d.GetStatus() != 0 {
			status = payment.Status(d.GetStatus()).String()
		}
		facts[at] = fmt.Sprint(d.GetAcceptedAtUs(), " ", d.GetTenant(), " ", d.GetMerchant(), " ", d.GetCustomer(), " ", d.GetAccount(), " ", d.GetAccountSeq(),
			" ", kind, " ", outcome, " ", status, " ", strings.Join(reasons, ","), " ", d.GetCommandId(), " ", d.GetPaymentId(), " ", d.GetCommandPartition(), " ",
			d.GetCommandOffset(), " ", d.GetEffectiveDate(), " ", d.GetAmountMinor(), " ", d.GetCurrency(), " ", d.GetTargetAmountMinor(), " ", d.GetTargetCurrency(), " ",
			d.GetFeeMinor(), " ", d.GetFx().GetRateUnscaled(), " ", d.GetFx().GetRateScale(), " ", d.GetFx().GetSpreadBp(), " ", d.GetMethod(), " ", d.GetToAccount(), " ",
			d.GetRelatedPaymentId(), " ", d.GetRefundedMinor(), " ", d.GetFraudScore(), " ", strings.Join(hits, ","), " ", d.GetPins().GetPolicy(), " ", n,
			" ", d.GetCapturedMinor(), " ", d.GetAuthorizedMinor(), " ", d.GetOrderId(), " ", d.GetRailCode(), " ", d.GetConnector(), " ", d.GetRailReference(),
			" ", d.GetCard(), " ", d.GetMcc(), " ", d.GetAcquirer(), " ", d.GetCardAcceptor(), " ", d.GetRrn(), " ", d.GetReasonCode(), " ", d.GetQuote(), " ", files)
		key := fmt.Sprint(d.GetAcceptedAtUs()/60_000_000, " ", d.GetMerchant(), " ", d.GetCurrency(), " ", kind, " ", outcome)
		s := sums[key]
		sums[key] = sum{s.n + 1, s.amount + d.GetAmountMinor(), s.fee + d.GetFeeMinor()}
		minutes[key] = fmt.Sprint(sums[key].n, " ", sums[key].amount, " ", sums[key].fee)
		states(statuses, d, kind, outcome)
	}
	same(t, "payment_facts", facts, lines(t, opts, `SELECT concat(log_partition, ' ', log_offset), concat(toUnixTimestamp64Micro(accepted_at), ' ', tenant, ' ', merchant, ' ',
		customer, ' ', account, ' ', account_seq, ' ', kind, ' ', outcome, ' ', status, ' ', arrayStringConcat(reasons, ','), ' ', command_id, ' ', payment_id, ' ',
		command_partition, ' ', command_offset, ' ', toInt32(effective_date), ' ', amount_minor, ' ', currency, ' ', target_amount_minor, ' ', target_currency, ' ',
		fee_minor, ' ', fx_rate_unscaled, ' ', fx_rate_scale, ' ', fx_spread_bp, ' ', method, ' ', to_account, ' ', related_payment_id, ' ', refunded_minor, ' ',
		fraud_score, ' ', arrayStringConcat(arrayMap((r, w) -> concat(r, '=', w), rule_hits, rule_weights), ','), ' ', policy, ' ', postings,
		' ', captured_minor, ' ', authorized_minor, ' ', order_id, ' ', rail_code, ' ', connector, ' ', rail_reference,
		' ', card, ' ', mcc, ' ', acquirer, ' ', card_acceptor, ' ', rrn, ' ', reason_code, ' ', quote, ' ', arrayStringConcat(arrayMap(k -> concat(k, ';'), evidence)))
		FROM payment_facts`))
	same(t, "postings", postings, lines(t, opts, `SELECT concat(log_partition, ' ', log_offset, ' ', line), concat(journal_kind, ' ', layer, ' ', account, ' ', currency, ' ',
		amount_minor, ' ', toInt32(booking_date), ' ', kind, ' ', merchant, ' ', payment_id, ' ', toUnixTimestamp64Micro(accepted_at)) FROM postings`))
	same(t, "payments_by_minute", minutes, lines(t, opts, `SELECT concat(intDiv(toUnixTimestamp(minute), 60), ' ', merchant, ' ', currency, ' ', kind, ' ', outcome),
		concat(sum(decisions), ' ', sum(amount_minor), ' ', sum(fee_minor)) FROM payments_by_minute GROUP BY minute, merchant, currency, kind, outcome`))
	rows := map[string]string{}
	for id, s := range statuses {
		rows[id] = fmt.Sprint(*s)
	}
	same(t, "payments", rows, lines(t, opts, `SELECT payment_id, concat('{', status, ' ', arrayStringConcat(reasons, ','), ' ', refunded_minor, ' ', captured_minor, ' ',
		authorized_minor, ' ', fee_minor, ' ', target_amount_minor, ' ', connector, ' ', rail_reference,
		' ', kind, ' ', related_payment_id, ' ', reason_code, ' ', quote, ' ', card, ' ', mcc, ' ', amount_minor, '}') FROM payments`))
	mustDispute(t, log, statuses, opts)
	mustSum(t, log, opts)
}

// state is a payment, as the view of that name says it.
type state struct {
	status, reasons                string
	refunded, captured, authorized int64
	fee, target                    int64
	connector, reference           string
	kind, related, code            string
	quote, card, mcc               string
	amount                         int64
}

// mustDispute holds the views of disputes and authorizations against the payments they are made of.
func mustDispute(t testing.TB, log []logtest.Logged, all map[string]*state, opts chdriver.Options) {
	t.Helper()
	if len(log) < 4000 {
		return // a short one need not come to any
	}
	want, asked := map[string]string{}, map[string]int{}
	for id, s := range all {
		if s.kind == "dispute" {
			want[id] = fmt.Sprint(s.status, " ", s.related, " ", s.fee, " ", s.connector, " ", s.reference, " ", s.code)
		}
	}
	same(t, "disputes", want, lines(t, opts, `SELECT dispute_id, concat(status, ' ', payment_id, ' ', fee_minor, ' ', connector, ' ', reference, ' ', reason_code) FROM disputes`))
	page, err := os.ReadFile("../../docs/stores.md")
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(string(page), "\n    SELECT connector, reason_code")
	query, _, _ = strings.Cut("SELECT connector, reason_code"+query, "\n\n")
	rates := lines(t, opts, "SELECT concat(connector, ' ', reason_code), toString(rate) FROM ("+query+")")
	if len(rates) == 0 {
		t.Errorf("the page's rate of disputes finds none: %s", query)
	}
	for _, d := range log {
		if outcome := payment.Outcome(d.GetOutcome()).String(); d.GetKind() == paymentsv1.CommandKind_COMMAND_KIND_AUTHORIZATION && (outcome == "approved" || outcome == "declined") {
			asked[fmt.Sprint(d.GetMcc(), " ", outcome)]++
		}
	}
	counted := map[string]string{}
	for mcc, n := range asked {
		counted[mcc] = fmt.Sprint(n)
	}
	same(t, "authorizations_by_day", counted, lines(t, opts, "SELECT concat(mcc, ' ', outcome), toString(sum(decisions)) FROM authorizations_by_day GROUP BY mcc, outcome"))
}

// states keeps the latest state of each payment.
func states(all map[string]*state, d logtest.Logged, kind, outcome string) {
	var words []string
	for _, r := range d.GetReasons() {
		words = append(words, payment.Reason(r).String())
	}
	reasons := strings.Join(words, ",")
	own := func() *state {
		s := all[d.GetPaymentId()]
		s.status = payment.Status(d.GetStatus()).String()
		if reasons != "" {
			s.reasons = reasons
		}
		return s
	}
	about := func() {
		s := all[d.GetRelatedPaymentId()]
		s.status, s.refunded = payment.Status(d.GetRelatedStatus()).String(), d.GetRefundedMinor()
		s.captured, s.authorized = max(s.captured, d.GetCapturedMinor()), max(s.authorized, d.GetAuthorizedMinor())
	}
	byCard := kind == "authorization" || kind == "authorization_advice" || kind == "reversal"
	made := func() *state {
		s := &state{
			fee: d.GetFeeMinor(), target: d.GetTargetAmountMinor(), kind: kind, related: d.GetRelatedPaymentId(), code: d.GetReasonCode(), quote: d.GetQuote(),
			card: d.GetCard(), mcc: d.GetMcc(), amount: d.GetAmountMinor(),
		}
		if all[d.GetPaymentId()] = s; byCard {
			s.kind, s.authorized, s.captured = "authorization", d.GetAuthorizedMinor(), d.GetCapturedMinor()
		}
		if kind == "dispute" {
			s.connector, s.reference = d.GetConnector(), d.GetRailReference()
		}
		return own()
	}
	change := func() {
		s := own()
		s.fee, s.target, s.code = d.GetFeeMinor(), d.GetTargetAmountMinor(), cmp.Or(d.GetReasonCode(), s.code)
		if byCard {
			s.authorized, s.captured = d.GetAuthorizedMinor(), d.GetCapturedMinor()
		}
	}
	switch kind {
	case "authorization_advice", "reversal", "clearing", "dispute":
		if outcome != "applied" || d.GetStatus() == 0 {
			return
		}
		if all[d.GetPaymentId()] == nil {
			made()
		} else {
			change()
		}
		if kind == "clearing" || kind == "dispute" {
			about()
		}
	case "dispute_evidence", "dispute_accept":
		if outcome == "approved" {
			change()
		}
	case "authorization": // it may find what a reversal has made
		if outcome == "repeated" || outcome == "conflict" {
			return
		}
		old := all[d.GetPaymentId()]
		s := made()
		if old != nil {
			s.code = cmp.Or(s.code, old.code)
		}
	case "payin", "payout", "transfer", "refund", "capture", "void", "increment", "fx_quote":
		if outcome == "repeated" || outcome == "conflict" {
			return
		}
		made()
		if q := all[d.GetQuote()]; q != nil && outcome != "declined" {
			q.status, q.related = "succeeded", d.GetPaymentId()
		}
		if outcome == "approved" && d.GetRelatedPaymentId() != "" {
			about()
		}
	case "approve", "decline", "expire", "leg_result":
		if outcome != "declined" && d.GetStatus() != 0 {
			s := own()
			s.captured = max(s.captured, d.GetCapturedMinor())
		}
	case "rail_answer":
		if outcome != "applied" {
			return
		}
		s := own()
		if s.reference == "" && !strings.HasSuffix(d.GetOrderId(), ".expire") && d.GetConnector()+d.GetRailReference() != "" {
			s.connector, s.reference = d.GetConnector(), d.GetRailReference()
		}
		if d.GetRelatedPaymentId() == "" {
			s.captured, s.authorized = max(s.captured, d.GetCapturedMinor()), max(s.authorized, d.GetAuthorizedMinor())
			return
		}
		if d.GetFeeMinor()+d.GetTargetAmountMinor() > 0 {
			s.fee, s.target = d.GetFeeMinor(), d.GetTargetAmountMinor()
		}
		about()
	}
}

// mustSum holds what the documentation says an analyst sums: what clearing and the fees say by day is what the payments come
// to, each captured part counted once.
func mustSum(t testing.TB, log []logtest.Logged, opts chdriver.Options) {
	t.Helper()
	want := map[string]string{}
	type flow struct{ debit, credit int64 }
	flows := map[string]flow{}
	for _, d := range log {
		for _, j := range d.GetJournals() {
			for _, p := range j.GetPostings() {
				if !strings.HasPrefix(p.GetAccount(), "sys_") || p.GetLayer() != paymentsv1.Layer_LAYER_POSTED {
					continue
				}
				key := fmt.Sprint(d.GetEffectiveDate(), " ", d.GetMerchant(), " ", p.GetAccount(), " ",
					strings.ToLower(strings.TrimPrefix(j.GetKind().String(), "JOURNAL_KIND_")), " ", p.GetCurrency())
				f := flows[key]
				flows[key] = flow{f.debit + max(0, -p.GetAmountMinor()), f.credit + max(0, p.GetAmountMinor())}
				want[key] = fmt.Sprint(flows[key].debit, " ", flows[key].credit)
			}
		}
	}
	same(t, "house_by_day", want, lines(t, opts, `SELECT concat(toInt32(booking_date), ' ', merchant, ' ', account, ' ', journal_kind, ' ', currency),
		concat(debit_minor, ' ', credit_minor) FROM house_by_day`))
	const came = `SELECT 'sum', toString(sum(debit_minor)) FROM house_by_day WHERE account = 'sys_clearing_card' AND journal_kind = 'post'`
	const captured = `SELECT 'sum', toString(sum(toInt128(captured_minor))) FROM payments WHERE kind = 'payin' AND method = 'card'`
	const refunds = `SELECT 'sum', toString(sum(credit_minor)) FROM house_by_day WHERE account = 'sys_clearing_card' AND journal_kind = 'refund'`
	const refunded = `SELECT 'sum', toString(sum(toInt128(refunded_minor))) FROM payments WHERE kind = 'payin' AND method = 'card'`
	same(t, "what came by card", lines(t, opts, captured), lines(t, opts, came))
	same(t, "what went back by card", lines(t, opts, refunded), lines(t, opts, refunds))
}

func same(t testing.TB, table string, want, got map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Fatalf("%s: the log has none", table)
	}
	shown := 0
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if want[key] != got[key] && shown < 3 {
			t.Errorf("%s %s\nlog   %s\nstore %s", table, key, want[key], got[key])
			shown++
		}
	}
	if len(want) != len(got) {
		t.Errorf("%s: log %d, store %d", table, len(want), len(got))
	}
}

func TestStoreEqualsLog(t *testing.T) {
	brokers, opts := embedtest.Broker(t), *embedtest.ClickHouse(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(1, 300)
	g.Old = 5
	sink, stop := start(t, config(opts, brokers, 500))
	for range 4 {
		logtest.Fill(t, w, g, 1500)
		drain(t, sink, brokers)
	}
	mustEqual(t, logtest.Read(t, brokers), opts)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// A restart repeats the last range, and the store drops it.
	logtest.Fill(t, w, g, 1000)
	again, _ := start(t, config(opts, brokers, 10_000))
	drain(t, again, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
}

func TestKilledSinkLosesAndDoublesNothing(t *testing.T) {
	brokers, opts := embedtest.Broker(t), *embedtest.ClickHouse(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(2, 200)
	logtest.Fill(t, w, g, 500)
	before := int64(0)
	for kill := range 6 {
		child := spawn(t, opts, brokers)
		filled := make(chan error, 1)
		go func() { filled <- logtest.Write(t.Context(), w, g, 3000) }()
		for held(t, opts) <= before {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(5*kill) * time.Millisecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		before = held(t, opts)
		if err := <-filled; err != nil {
			t.Fatal(err)
		}
		t.Logf("killed at %d of %d", before, total(logtest.Ends(t, brokers)))
	}
	sink, _ := start(t, config(opts, brokers, 1000))
	drain(t, sink, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
}

func total(ends map[int32]int64) (sum int64) {
	for _, end := range ends {
		sum += end
	}
	return sum
}

// held is how much of the log the store has recorded, -1 before it has a schema.
func held(t testing.TB, opts chdriver.Options) (sum int64) {
	t.Helper()
	conn, err := chdriver.Open(&opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // it has answered
	if err := conn.QueryRow(t.Context(), `SELECT arraySum(next) FROM sink_ranges ORDER BY seq DESC LIMIT 1`).Scan(&sum); err != nil {
		return -1
	}
	return sum
}

func spawn(t testing.TB, opts chdriver.Options, brokers []string) *exec.Cmd {
	t.Helper()
	conn, err := opts.DialContext(t.Context(), opts.Addr[0])
	if err != nil {
		t.Fatal(err)
	}
	socket := conn.RemoteAddr().String()
	_ = conn.Close()
	text, err := json.Marshal(childConfig{socket, opts.Auth.Database, opts.Auth.Username, opts.Auth.Password, brokers})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+string(text))
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child
}

func TestSecondSinkIsShutOut(t *testing.T) {
	brokers, opts := embedtest.Broker(t), *embedtest.ClickHouse(t)
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(3, 100)
	one, _ := start(t, config(opts, brokers, 200))
	logtest.Fill(t, w, g, 400)
	drain(t, one, brokers)
	two, _ := start(t, config(opts, brokers, 100))
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) && !errors.Is(one.Ready(), clickhouse.ErrNotOwner) && !errors.Is(two.Ready(), clickhouse.ErrNotOwner) {
		logtest.Fill(t, w, g, 200)
	}
	left := one
	if errors.Is(one.Ready(), clickhouse.ErrNotOwner) {
		left = two
	} else if !errors.Is(two.Ready(), clickhouse.ErrNotOwner) {
		t.Fatal("two sinks write the same partitions")
	}
	logtest.Fill(t, w, g, 200)
	drain(t, left, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
}

func TestStoreOutage(t *testing.T) {
	brokers, server := embedtest.Broker(t), embedtest.StartClickHouse(t, t.TempDir())
	embedtest.CreateClickHouseDatabase(t, server, "outage")
	opts := *server.Options("outage")
	logtest.Create(t, brokers, partitions)
	w, g := logtest.NewWriter(t, brokers, partitions), logtest.New(4, 100)
	sink, _ := start(t, config(opts, brokers, 300))
	for range 5 {
		filled := make(chan error, 1)
		go func() { filled <- logtest.Write(t.Context(), w, g, 1500) }()
		time.Sleep(40 * time.Millisecond)
		if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-filled; err != nil {
			t.Fatal(err)
		}
		drain(t, sink, brokers)
	}
	mustEqual(t, logtest.Read(t, brokers), opts)
}

// TestMigrationGoesOnWhereItWasCut leaves a store with half a schema, as a kill during the first start does.
func TestMigrationGoesOnWhereItWasCut(t *testing.T) {
	brokers, opts := embedtest.Broker(t), *embedtest.ClickHouse(t)
	logtest.Create(t, brokers, partitions)
	conn, err := chdriver.Open(&opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // it has answered
	if err := schema.Migrate(t.Context(), opts, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"DROP VIEW account_balances", "DROP VIEW payments_by_minute_feed", "TRUNCATE TABLE goose_db_version", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)"} {
		if err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	logtest.Fill(t, logtest.NewWriter(t, brokers, partitions), logtest.New(7, 20), 500)
	sink, _ := start(t, config(opts, brokers, 300))
	drain(t, sink, brokers)
	mustEqual(t, logtest.Read(t, brokers), opts)
}
