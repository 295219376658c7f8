// Package sagas is the command `caudal sagas`: which payments wait at which step of what takes more than one decision, and
// which of them have waited too long. It reads Postgres and changes nothing; what the steps are is processors/payment's to say.
package sagas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/up"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/sinks/sagas"
)

// ErrStuck says that something has waited too long, where the caller asked to be told by the exit code.
var ErrStuck = errors.New("sagas are stuck")

// ExitStuck is the exit code of ErrStuck.
const ExitStuck = 4

type options struct {
	data, postgres, output string
	filter                 sagas.Filter
	fail                   bool
}

// New is the command with its subcommands.
func New() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "sagas",
		Short: "Payments on their way: at which step they wait, and which are stuck",
		Long: "What takes more than one decision is declared step by step in docs/lifecycle.md. list shows the payments that wait, from\n" +
			"Postgres as its sink has it; stuck are those that have waited longer than their step allows. show tells one payment's\n" +
			"steps and where it stands. Both only read.\n\n" +
			"The stores do not tell the capture method of a card payment: until its rail has answered, one that is to be captured by\n" +
			"command is listed under card_payin.\n\n" +
			"--data takes an installation of `caudal up`; --postgres a server.",
	}
	f := c.PersistentFlags()
	f.StringVar(&o.data, "data", "./caudal-data", "data folder of the installation")
	f.StringVar(&o.postgres, "postgres", "", "Postgres DSN, instead of --data")
	f.StringVarP(&o.output, "output", "o", "table", "table, json, or ndjson (one object per line)")
	c.AddCommand(o.listCommand(), o.showCommand())
	return c
}

func (o *options) listCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List what waits, the longest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.fail && !o.filter.Stuck {
				return errors.New("--fail without --stuck: something always waits")
			}
			if s := o.filter.Saga; s != "" && !slices.ContainsFunc(payment.Sagas(), func(step payment.SagaStep) bool { return step.Saga == s }) {
				return fmt.Errorf("--saga %q: there is none of that name, see docs/lifecycle.md", s)
			}
			if a := o.filter.Account; a != "" {
				if _, err := payment.ParseAccountID(a); err != nil {
					return fmt.Errorf("--account %q: an account id is expected, acc_ and 20 characters", a)
				}
			}
			lines := []sagas.Line{}
			if err := o.connected(cmd, func(ctx context.Context, conn *pgx.Conn) (err error) {
				lines, err = sagas.Read(ctx, conn, o.filter, time.Now())
				return err
			}); err != nil {
				return err
			}
			if err := o.print(cmd.OutOrStdout(), lines); err != nil {
				return err
			}
			if o.fail && len(lines) > 0 {
				return fmt.Errorf("%d payments: %w", len(lines), ErrStuck)
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&o.filter.Stuck, "stuck", false, "only those that have waited too long")
	f.BoolVar(&o.fail, "fail", false, "with --stuck: exit code 4 where there are any")
	f.StringVar(&o.filter.Saga, "saga", "", "only this saga's")
	f.StringVar(&o.filter.Account, "account", "", "only this account's")
	return c
}

func (o *options) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show PAYMENT",
		Short: "Show the steps of a payment's saga and where it stands",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.connected(cmd, func(ctx context.Context, conn *pgx.Conn) error {
				s, err := sagas.ReadOne(ctx, conn, args[0])
				if err != nil {
					return err
				}
				return o.printState(cmd.OutOrStdout(), s)
			})
		},
	}
}

// connected checks the output, connects to Postgres, and disconnects.
func (o *options) connected(cmd *cobra.Command, work func(context.Context, *pgx.Conn) error) (err error) {
	if !slices.Contains([]string{"table", "json", "ndjson"}, o.output) {
		return fmt.Errorf("-o %q: choose table, json or ndjson", o.output)
	}
	if cmd.Flags().Changed("data") && o.postgres != "" {
		return errors.New("--data and --postgres name two installations: choose one")
	}
	ctx, dsn := cmd.Context(), o.postgres
	if dsn == "" {
		parts, err := up.Attach(ctx, o.data, cmd.ErrOrStderr(), slog.New(slog.DiscardHandler))
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		defer func() { err = errors.Join(err, parts.Stop(context.WithoutCancel(ctx))) }()
		dsn = parts.Postgres
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connecting to Postgres: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return work(ctx, conn)
}

func (o *options) print(w io.Writer, lines []sagas.Line) error {
	switch o.output {
	case "json":
		return write(w, lines, "  ")
	case "ndjson":
		for _, l := range lines {
			if err := write(w, l, ""); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(w, table.Row{"saga", "step", "payment", "account", "status", "since", "waits for", "deadline", "stuck"})
	for _, l := range lines {
		stuck := ""
		if l.Stuck {
			stuck = "since " + l.StuckAt.Format(time.RFC3339)
		}
		t.AppendRow(table.Row{l.Saga, l.Step, l.Payment, l.Account, l.Status, l.Since.Format(time.RFC3339), l.WaitsFor, moment(l.Deadline), stuck})
	}
	t.Render()
	return nil
}

func (o *options) printState(w io.Writer, s sagas.State) error {
	switch o.output {
	case "json":
		return write(w, s, "  ")
	case "ndjson":
		return write(w, s, "")
	}
	t := newTable(w, table.Row{"saga", "step", "record", "asks", "waits", "undone", ""})
	for _, step := range s.Steps {
		here := ""
		if step.Here {
			here = "here since " + s.Since.Format(time.RFC3339)
		}
		t.AppendRow(table.Row{s.Saga, step.Step, step.Record, step.Asks, step.Waits, step.Undone, here})
	}
	t.AppendFooter(table.Row{s.Payment, s.Status})
	t.Render()
	return nil
}

func moment(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Format(time.RFC3339)
}

func newTable(w io.Writer, header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Footer = 0
	t.AppendHeader(header)
	return t
}

func write(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(w)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("printing sagas: %w", err)
	}
	return nil
}
