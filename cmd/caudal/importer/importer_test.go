package importer_test

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/importer"
	"github.com/caudalpay/caudal/processors/money"
)

const bankMapping = "../../../deploy/import/bank-csv.yaml"

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const bankHeader = "trans_id,account_id,date,direction,operation,purpose,amount,balance_after,partner_bank,partner_account\n"

// movements are n rows over a few accounts, and what each balance must be after each of its rows.
func movements(n int) (string, map[string][]int64) {
	var b strings.Builder
	b.WriteString(bankHeader)
	balances := map[string][]int64{}
	for i := range n {
		account := i * i % 37
		minor := int64(i%9973) + 1
		direction, signed := "credit", minor
		if i%3 == 2 {
			direction, signed = "debit", -minor
		}
		fmt.Fprintf(&b, "%d,%d,1993-%02d-%02d,%s,cash,,%s,0,AB,%d\n", 1000+i, account, i%12+1, i%28+1, direction, money.Format(minor, "CZK"), i)
		id := fmt.Sprintf("acc_bank-%d", account)
		last := int64(0)
		if h := balances[id]; len(h) > 0 {
			last = h[len(h)-1]
		}
		balances[id] = append(balances[id], last+signed)
	}
	return b.String(), balances
}

func (h *house) audit(t *testing.T, want map[string][]int64) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.accounts) != len(want) {
		t.Fatalf("%d accounts, want %d", len(h.accounts), len(want))
	}
	for id, history := range want {
		if !reflect.DeepEqual(h.accounts[id].history, history) {
			t.Fatalf("%s: %v, want %v", id, h.accounts[id].history, history)
		}
	}
}

func options(h *house, file string) importer.Options {
	return importer.Options{File: file, Mapping: bankMapping, URL: h.url, Token: "secret"}
}

func TestEveryBalanceAfterEveryRowAndARepeatMovesNothing(t *testing.T) {
	h := newHouse(t)
	text, want := movements(20_000)
	file := write(t, "bank.csv", text)
	got, err := importer.Run(t.Context(), options(h, file))
	if err != nil || got.Rows != 20_000 || got.Approved != 20_000 || got.Rejected != 0 || got.Repeated != 0 || got.AccountsOpened != len(want) {
		t.Fatalf("%+v, %v", got, err)
	}
	h.audit(t, want)
	if h.largest < 500 {
		t.Errorf("batches of at most %d rows", h.largest)
	}
	again, err := importer.Run(t.Context(), options(h, file))
	if err != nil || again.Approved != 20_000 || again.Repeated != 20_000 {
		t.Fatalf("%+v, %v", again, err)
	}
	h.audit(t, want)
	if _, err := os.Stat(strings.TrimSuffix(file, ".csv") + ".rejected.csv"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a side file without a rejected row: %v", err)
	}
}

func TestFaultsOfTheHouseAreRetriedInOrder(t *testing.T) {
	h := newHouse(t)
	h.faults = true
	text, want := movements(5_000)
	o := options(h, write(t, "bank.csv", text))
	o.Workers, o.Batch = 3, 300
	got, err := importer.Run(t.Context(), o)
	if err != nil || got.Approved != 5_000 || got.Rows != 5_000 {
		t.Fatalf("%+v, %v", got, err)
	}
	h.audit(t, want)
}

func TestAStoppedImportResumes(t *testing.T) {
	h := newHouse(t)
	text, want := movements(5_000)
	o := options(h, write(t, "bank.csv", text))
	o.Batch = 50
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen atomic.Int64
	h.before = func(map[string]any) {
		if seen.Add(1) == 2_000 {
			cancel()
		}
	}
	first, err := importer.Run(ctx, o)
	if !errors.Is(err, context.Canceled) || first.Rows >= 5_000 {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := importer.Run(t.Context(), o)
	if err != nil || second.Approved != 5_000 || second.Repeated < first.Rows || second.Repeated == 5_000 {
		t.Fatalf("first %+v, second %+v, %v", first, second, err)
	}
	h.audit(t, want)
}

func TestRejectedRowsHaveLineAndReason(t *testing.T) {
	h := newHouse(t)
	file := write(t, "bank.csv", "\xef\xbb\xbf"+bankHeader+
		"1,7,1993-01-01,credit,=HYPERLINK(),,100.00,,,\n"+
		"2,7,1993-01-01,debit,cash,,1000200.00,,,\n"+ // below the overdraft
		"3,7,1993-01-01,sideways,cash,,1.00,,,\n"+
		"4,7,1993-01-32,credit,cash,,1.00,,,\n"+
		"5,7,1993-01-01,credit,cash,,1.005,,,\n"+
		"6,7,1993-01-01,credit,cash,,0.00,,,\n"+
		"7,7,1993-01-01,credit,cash,,-1.00,,,\n"+
		"8,7,1993-01-01,credit,\"a\nb\",,1e3,,,\n"+
		"9,7,1993-01-01,credit\n"+
		"10,7,1993-01-01,credit,\xff,,1.00,,,\n"+
		"11,refused,1993-01-01,credit,cash,,1.00,,,\n"+
		",,1993-01-01,credit,cash,,1.00,,,\n"+
		"13,7,1993-01-01,debit,cash,,0.50,,,\n"+
		"13,7,1993-01-01,debit,cash,,0.60,,,\n")
	got, err := importer.Run(t.Context(), options(h, file))
	if err != nil || got.Rows != 14 || got.Approved != 2 || got.Rejected != 12 {
		t.Fatalf("%+v, %v", got, err)
	}
	h.audit(t, map[string][]int64{"acc_bank-7": {100_00, 99_50}})
	raw, err := os.Open(got.RejectedFile)
	if err != nil || filepath.Base(got.RejectedFile) != "bank.rejected.csv" {
		t.Fatalf("%s: %v", got.RejectedFile, err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	reader := csv.NewReader(raw)
	reader.FieldsPerRecord = -1
	rows, err := reader.ReadAll()
	if err != nil || strings.Join(rows[0][:4], ",") != "line,reason,detail,trans_id" {
		t.Fatalf("%v, %v", rows, err)
	}
	reasons := map[string]string{}
	for _, r := range rows[1:] {
		reasons[r[0]] = r[1]
	}
	want := map[string]string{
		"3": "insufficient_funds", "4": "unknown_direction", "5": "malformed_date", "6": "malformed_amount", "7": "zero_amount",
		"8": "negative_amount", "9": "malformed_amount", "11": "malformed_row", "12": "invalid_utf8", "13": "account_refused",
		"14": "missing_key", "16": "idempotency_conflict",
	}
	if !reflect.DeepEqual(reasons, want) {
		t.Fatalf("got  %v\nwant %v", reasons, want)
	}
}

func TestFormulasInRejectedRowsAreGuarded(t *testing.T) {
	h := newHouse(t)
	file := write(t, "bank.csv", bankHeader+"1,7,1993-01-01,sideways,=1+1,@x,1.00,-5,+a,\"\tb\"\n")
	got, err := importer.Run(t.Context(), options(h, file))
	if err != nil || got.Rejected != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	raw, err := os.ReadFile(got.RejectedFile)
	if err != nil || !strings.Contains(string(raw), "'=1+1,'@x,1.00,'-5,'+a,'\tb") {
		t.Fatalf("%s, %v", raw, err)
	}
	if info, err := os.Stat(got.RejectedFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
}

func TestOtherLayouts(t *testing.T) {
	h := newHouse(t)
	mapping := write(t, "m.yaml", `
version: 1
delimiter: ";"
account:
  external_id: "shop-{konto}"
  open: {customer_id: "c-{konto}", kind: merchant, currencies: [EUR, JPY], kyc_level: 1, policy: import}
direction:
  values:
    positive: {kind: payin, method: book}
    negative: {kind: payout, method: book}
amount: {text: "{betrag}", decimal_point: ",", grouping: "."}
currency: "{waehrung}"
effective_date: {text: "{datum}", format: DD.MM.YYYY}
reference: "import {zweck}"
counterparty: {name: "{name}", country: DE}
`)
	file := write(t, "umsatz.csv", "konto;datum;betrag;waehrung;zweck;name\nA;31.12.2024;1.234,50;EUR;x;Maier\nA;01.01.2025;-34,5;EUR;;\nA;01.01.2025;7;JPY;;\nA;01.01.2025;7,0;JPY;;\n")
	var items []map[string]any
	h.before = func(item map[string]any) { items = append(items, item) }
	o := options(h, file)
	o.Mapping = mapping
	got, err := importer.Run(t.Context(), o)
	if err != nil || got.Approved != 3 || got.Reasons["malformed_amount"] != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	first, second := items[0], items[1]
	party, _ := first["counterparty"].(map[string]any)
	if first["amount"] != 123450.0 || first["kind"] != "payin" || first["effective_date"] != "2024-12-31" || first["reference"] != "import x" || party["name"] != "Maier" || party["country"] != "DE" {
		t.Errorf("first: %v", first)
	}
	if second["amount"] != 3450.0 || second["kind"] != "payout" || second["counterparty"] != nil {
		t.Errorf("second: %v", second)
	}
	if key, _ := first["idempotency_key"].(string); !strings.HasSuffix(key, "-1") || len(key) != 18 {
		t.Errorf("key of the file and row: %q", key)
	}
	if again, err := importer.Run(t.Context(), o); err != nil || again.Repeated != 3 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// A file without rows is imported at once.
func TestNothingToImport(t *testing.T) {
	h := newHouse(t)
	got, err := importer.Run(t.Context(), options(h, write(t, "bank.csv", bankHeader)))
	if err != nil || got.Rows != 0 || got.Rejected != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestWhatCannotWorkIsRefusedBeforeTheFirstRow(t *testing.T) {
	h := newHouse(t)
	file := write(t, "bank.csv", bankHeader)
	good, err := os.ReadFile(bankMapping)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, change, want string }{
		{"version: 1", "version: 2", "version: is not 1"},
		{"{trans_id}", "{transaction}", "key: the file has no such column: transaction"},
		{"{trans_id}", "{trans_id", "without a column"},
		{"kind: payin", "kind: refund", "direction.values.credit.kind"},
		{"currencies: [CZK]", "currencies: []", "account.open.currencies"},
		{"\"1000000.00\"", "\"1000000.001\"", "account.open.overdraft_limit"},
		{"YYYY-MM-DD", "YY-MM-DD", "effective_date.format"},
		{"currency: CZK", "currenzy: CZK", "currenzy"},
		{"external_id: bank-{account_id}", "id: \"{account_id}\"", "account.open: belongs to external_id"},
	} {
		o := options(h, file)
		o.Mapping = write(t, "m.yaml", strings.Replace(string(good), c.old, c.change, 1))
		if _, err := importer.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q, got %v", c.change, c.want, err)
		}
	}
	for want, change := range map[string]func(*importer.Options){
		"names \"a\" twice": func(o *importer.Options) { o.File = write(t, "twice.csv", "a,a\n") },
		"no such file":      func(o *importer.Options) { o.File = filepath.Join(t.TempDir(), "absent.csv") },
		"line break": func(o *importer.Options) { // the last amount may be cut
			o.File = write(t, "cut.csv", bankHeader+"1,7,1993-01-01,credit,cash,,1.00,,,\n2,7,1993-01-02,credit,cash,,15")
		},
		"header":        func(o *importer.Options) { o.File = write(t, "empty.csv", "") },
		"batches up to": func(o *importer.Options) { o.Batch = 1001 },
	} {
		o := options(h, file)
		change(&o)
		if _, err := importer.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	o := options(h, write(t, "one.csv", bankHeader+"1,7,1993-01-01,credit,cash,,1.00,,,\n"))
	o.Token = "wrong"
	if _, err := importer.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("wrong token: %v", err)
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	r := importer.Result{Rows: 3, Approved: 2, Rejected: 1, Reasons: map[string]int{"limit_day": 1}, RejectedFile: "x.rejected.csv"}
	if err := r.Print(&b, "json"); err != nil || !strings.Contains(b.String(), `"rejected":1,"reasons":{"limit_day":1}`) {
		t.Fatalf("%s, %v", b.String(), err)
	}
	b.Reset()
	if err := r.Print(&b, "table"); err != nil || !strings.Contains(b.String(), "limit_day") || !strings.Contains(b.String(), "x.rejected.csv") {
		t.Fatalf("%s, %v", b.String(), err)
	}
	if r.Print(&b, "xml") == nil {
		t.Fatal("printed xml")
	}
}

// The real movements, where they lie beside the repository: every row is taken, every balance is the exact signed sum.
func TestRealMovements(t *testing.T) {
	const path = "../../../../shared/data/czech-bank-1993/transactions.csv"
	f, err := os.Open(path)
	if err != nil {
		t.Logf("ATTENTION: the bank's real movements are not at %s; this run says nothing about them", path)
		return
	}
	t.Cleanup(func() { _ = f.Close() })
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int64{}
	for _, r := range rows[1:] {
		minor, err := money.Parse(r[6], "CZK")
		if err != nil {
			t.Fatal(err)
		}
		if r[3] == "debit" {
			minor = -minor
		}
		id := "acc_bank-" + r[1]
		if h := want[id]; len(h) > 0 {
			minor += h[len(h)-1]
		}
		want[id] = append(want[id], minor)
	}
	h := newHouse(t)
	got, err := importer.Run(t.Context(), options(h, path))
	if err != nil || got.Approved != len(rows)-1 || got.Rejected != 0 || got.AccountsOpened != 969 {
		t.Fatalf("%+v, %v", got, err)
	}
	t.Logf("%d rows, %d accounts, %.0f rows/s against an in-test house", got.Rows, got.AccountsOpened, got.PerSecond)
	h.audit(t, want)
}
