package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var ctx = context.Background()

func cpu(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	u, _ := strconv.Atoi(f[11])
	s, _ := strconv.Atoi(f[12])
	return float64(u+s) * 10 // ms
}

func main() {
	c, err := pgx.Connect(ctx, os.Args[1])
	if err != nil {
		panic(err)
	}
	var pid int
	must(c.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid))
	ex := func(q string, a ...any) {
		_, err := c.Exec(ctx, q, a...)
		if err != nil {
			panic(q + err.Error())
		}
	}
	ex("create schema if not exists x")
	for _, tab := range []string{"postings", "journals", "payments"} {
		src := "ledger." + tab
		part := "booking_month"
		if tab == "payments" {
			src, part = "payments.payments", "created_month"
		}
		for _, how := range []string{"conflict", "plain", "copy", "conflict", "plain", "copy"} {
			ex("drop table if exists x.t")
			ex("create table x.t (like " + src + " including all) partition by range (" + part + ")")
			ex("create table x.t1 partition of x.t for values from ('2026-01-01') to ('2027-01-01')")
			if tab == "journals" {
			}
			// batches of 20000 rows by log order
			rows, err := c.Query(ctx, "select * from "+src+" order by log_offset limit 200000")
			must(err)
			fields := rows.FieldDescriptions()
			var all [][]any
			for rows.Next() {
				v, err := rows.Values()
				must(err)
				all = append(all, v)
			}
			must(rows.Err())
			names := make([]string, len(fields))
			args := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.Name
				var tn string
				must(c.QueryRow(ctx, "select format_type($1,-1)", f.DataTypeOID).Scan(&tn))
				args[i] = fmt.Sprintf("$%d::%s[]", i+1, tn)
				if f.Name == "reasons" {
					args[i] = ""
				}
			}
			var wall time.Duration
			c0 := cpu(pid)
			var w0, w1 int64
			must(c.QueryRow(ctx, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(),'0/0')::bigint").Scan(&w0))
			for len(all) > 0 {
				n := min(20000, len(all))
				b := all[:n]
				all = all[n:]
				began := time.Now()
				switch how {
				case "copy":
					_, err := c.CopyFrom(ctx, pgx.Identifier{"x", "t"}, names, pgx.CopyFromRows(b))
					must(err)
				default:
					if tab == "payments" { // arrays of arrays are awkward: leave reasons out
						break
					}
					cols := make([]any, len(fields))
					for i := range fields {
						col := make([]any, n)
						for j := range b {
							col[j] = b[j][i]
						}
						cols[i] = col
					}
					tail := ""
					if how == "conflict" {
						tail = " on conflict do nothing"
					}
					ex("insert into x.t ("+strings.Join(names, ",")+") select * from unnest("+strings.Join(args, ",")+")"+tail, cols...)
				}
				wall += time.Since(began)
			}
			must(c.QueryRow(ctx, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(),'0/0')::bigint").Scan(&w1))
			var cnt int
			must(c.QueryRow(ctx, "select count(*) from x.t").Scan(&cnt))
			fmt.Printf("%s %s rows %d cpu %.2f us/row wall %v wal %.0f B/row\n", tab, how, cnt, (cpu(pid)-c0)*1000/float64(max(1, cnt)), wall, float64(w1-w0)/float64(max(1, cnt)))
		}
	}
	ex("drop schema x cascade")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
