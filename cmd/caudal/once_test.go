package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/processors/money"
)

var daySeed = flag.Uint64("day-seed", 7, "seed of the day of TestSampleDayCloses")

// once runs `caudal up --once -o json` and reads its summary. The exit code must agree with it.
func once(t *testing.T, args ...string) up.Summary {
	t.Helper()
	cmd := caudal(t, append([]string{"up", "--once", "-o", "json", "--http", freeAddress(t), "--clickhouse-http", "127.0.0.1:0"}, args...)...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	var s up.Summary
	if decodeErr := json.Unmarshal(out.Bytes(), &s); decodeErr != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, decodeErr, out.Bytes(), log.Bytes())
	}
	if (err == nil) != s.Closed() {
		t.Fatalf("exit %v, but closed is %v: %+v\n%s", err, s.Closed(), s, log.Bytes())
	}
	return s
}

// Invariant: the sample day closes, and holds at least 500 of all that a reader looks for.
func TestSampleDayCloses(t *testing.T) {
	data := t.TempDir()
	flags := append(kafka(t), "--data", data, "--seed", fmt.Sprint(*daySeed))
	s := once(t, flags...)
	if !s.Closed() {
		t.Fatalf("the books do not close: %+v", s)
	}
	if s.Accepted < 50_000 {
		t.Errorf("%d commands, want 50,000", s.Accepted)
	}
	for what, n := range map[string]int64{
		"limit": s.Reasons["limit_day"], "funds": s.Reasons["insufficient_funds"], "fraud": s.Reasons["fraud_score"],
		"review": s.Review, "repeats": s.Repeats, "conflicts": s.Conflicts, "refunds": s.Kinds["refund"], "transfers": s.Kinds["transfer"],
		"approvals and declines of reviews": s.Kinds["approve"] + s.Kinds["decline"],
	} {
		if n < 500 {
			t.Errorf("%s: %d, want 500", what, n)
		}
	}
	if out, err := caudal(t, "verify", "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("verify after the end: %v\n%s", err, out)
	}
	again := once(t, flags...)
	if moved := again.Approved - again.Repeats; !again.Closed() || again.Accepted < 50_000 || again.Repeats < 50_000 || moved > 0 {
		t.Errorf("the same day again is repeats and nothing else: %+v", again)
	}
}

const bankFile = "../../../shared/data/czech-bank-1993/transactions.csv"

// movement is a row of the bank's file, in minor units.
type movement struct{ amount, recorded int64 }

func bankMovements(t *testing.T) map[string][]movement {
	t.Helper()
	f, err := os.Open(bankFile)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("THE BANK'S FILE IS NOT HERE: " + bankFile + " is missing, so 38,168 real movements go unproven")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // read to the end
	r := csv.NewReader(f)
	header, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	minor := func(s string) int64 {
		negative := strings.HasPrefix(s, "-")
		n, err := money.Parse(strings.TrimPrefix(s, "-"), "CZK")
		if err != nil {
			t.Fatal(err)
		}
		if negative {
			return -n
		}
		return n
	}
	out := map[string][]movement{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		m := movement{minor(row[column["amount"]]), minor(row[column["balance_after"]])}
		if row[column["direction"]] == "debit" {
			m.amount = -m.amount
		}
		id := "bank-" + row[column["account_id"]]
		out[id] = append(out[id], m)
	}
}

// Invariant: 38,168 real movements end in the exact signed sum per account; where the bank's own figures chain, the
// recorded balance appears after every movement.
func TestBankMovements(t *testing.T) {
	bank := bankMovements(t)
	data := t.TempDir()
	s := once(t, "--data", data, "--import", bankFile, "--mapping", "../../deploy/import/bank-csv.yaml")
	if !s.Closed() || s.RejectedRows != 0 {
		t.Fatalf("the books do not close: %+v", s)
	}
	var list bytes.Buffer
	cmd := caudal(t, "accounts", "list", "--data", data, "-o", "json")
	cmd.Stdout = &list
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	final := map[string]accountLine{}
	for decoder := json.NewDecoder(&list); decoder.More(); {
		var l accountLine
		if err := decoder.Decode(&l); err != nil {
			t.Fatal(err)
		}
		final[l.ExternalID] = l
	}
	if len(final) != len(bank) {
		t.Fatalf("%d accounts, the file has %d", len(final), len(bank))
	}
	after := balancesAfter(t, data)
	exact, rows := 0, 0
	for id, movements := range bank {
		var sum int64
		chains := true
		for i, m := range movements {
			before := sum
			if i > 0 {
				before = movements[i-1].recorded
			}
			chains = chains && before+m.amount == m.recorded
			sum += m.amount
		}
		if l := final[id]; l.Posted != sum || l.Currency != "CZK" || l.Held != 0 || l.Available != sum {
			t.Errorf("%s ends at %+v, its rows sum to %d", id, l, sum)
		}
		if len(after[id]) != len(movements) {
			t.Fatalf("%s has %d movements, the file %d", id, len(after[id]), len(movements))
		}
		rows += len(movements)
		if !chains {
			continue
		}
		exact++
		for i, m := range movements {
			if after[id][i] != m.recorded {
				t.Errorf("%s after movement %d: %d, the bank recorded %d", id, i+1, after[id][i], m.recorded)
			}
		}
	}
	if rows != 38_168 || exact != 286 {
		t.Errorf("%d rows and %d exact accounts, want 38,168 and 286", rows, exact)
	}
}

// balancesAfter reads each account's posted balance after each of its journals, in order.
func balancesAfter(t *testing.T, data string) map[string][]int64 {
	t.Helper()
	ctx := t.Context()
	parts, err := up.Attach(ctx, data, io.Discard, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parts.Stop(ctx) }() // the test has what it came for
	conn, err := pgx.Connect(ctx, parts.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT a.external_id, j.posted_minor FROM ledger.journals j JOIN accounts.accounts a USING (account) ORDER BY j.account, j.account_seq`)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]int64{}
	var id string
	var posted int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &posted}, func() error { out[id] = append(out[id], posted); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}
