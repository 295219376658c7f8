package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/railsim/acquirer"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
)

// errWrongAnswers is what `railsim iso8583` ends with where the house was wrong.
var errWrongAnswers = errors.New("wrong answers")

// enrolled tells who waits for it that every card is there.
const enrolled = "enrolled; sending until told to end"

const feedHelp = `Plays an acquirer on the card authorization feed. It opens accounts, funds them and gives them cards over the API, then sends
messages at a fixed rate: authorizations that fit and that do not, single messages, repeats, reversals (after, crossing, before and
instead of the original, in part, twice), advices, clearings (whole, in parts, with more, late, of nothing; or all of them into a file)
and credits. Every answer is held against a model of its own of each account, and in the end so is every balance the API tells.
With --duration 0 it goes on until it is told to end, and then waits for its last answers.

The loop is open: latencies count from the moment a message was due. What is not answered in time is reversed or told again; where a
connection breaks, what was on it is sent again on the next.

Where a running ` + "`caudal up --data DIR`" + ` left its token and addresses in DIR, nothing else need be said.

Exit codes: 0 all answers were right, 1 one was not, or it could not be tried.`

func feedCommand() *cobra.Command {
	var cfg acquirer.Config
	var data, header, output string
	var find time.Duration
	c := &cobra.Command{
		Use:   "iso8583",
		Short: "Play an acquirer on the card authorization feed, at a rate, and check every answer",
		Long:  feedHelp,
		Example: "  railsim iso8583 --rate 500 --duration 30s -o json\n" +
			"  railsim iso8583 --connect 127.0.0.1:8583 --connect 127.0.0.1:8584 --rate 1000 --duration 1m\n" +
			"  railsim iso8583 --find-p99 100ms",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %q: choose table or json", output)
			}
			var err error
			if cfg.Header, err = iso8583.ParseFrameHeader(header); err != nil {
				return err //nolint:wrapcheck // it says what it was reading
			}
			if err := address(&cfg, data); err != nil {
				return err
			}
			return feed(cmd, cfg, find, output)
		},
	}
	f := c.Flags()
	f.StringVar(&data, "data", "./caudal-data", "folder of a running installation, for what the next three leave out")
	f.StringVar(&cfg.URL, "url", "", "address of the API")
	f.StringVar(&cfg.Token, "token", "", "key of the API; better in the folder's dev.token, or in CAUDAL_TOKEN")
	f.StringArrayVar(&cfg.Connect, "connect", nil, "HOST:PORT of a door; given twice, connections are spread over both")
	f.StringVar(&header, "header", "binary", "how frames tell their length: binary or ascii")
	f.IntVar(&cfg.Connections, "connections", 64, "connections")
	f.IntVar(&cfg.Rate, "rate", 100, "messages a second")
	f.DurationVar(&cfg.Duration, "duration", 30*time.Second, "how long; 0: until it is told to end (SIGINT, SIGTERM)")
	f.IntVar(&cfg.Accounts, "accounts", 500, "accounts, each with a card; one message of an account is under way at a time")
	f.StringVar(&cfg.Policy, "policy", "acquiring", "policy of the accounts: it needs an issuing part")
	f.StringVar(&cfg.Currency, "currency", "BRL", "currency of the accounts")
	f.Int64Var(&cfg.FundMinor, "fund", 1_000_000, "what each account gets at first, in minor units")
	f.Uint64Var(&cfg.Seed, "seed", 1, "seed of the run")
	f.StringVar(&cfg.Run, "run", "", "name of the run's accounts and cards (default: the time)")
	f.DurationVar(&cfg.Deadline, "deadline", 2*time.Second, "when the house stands in")
	f.DurationVar(&cfg.Timeout, "timeout", 6*time.Second, "when an unanswered message is reversed or told again")
	f.StringVar(&cfg.ClearingFile, "clearing-file", "", "write clearings into this file instead of sending them, for \"caudal clearing load\"; it holds the cards' numbers")
	f.DurationVar(&find, "find-p99", 0, "find the highest rate whose p99 stays under this, from --rate on, ten seconds a trial")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

// address completes what the flags leave out by what an installation has written down.
func address(cfg *acquirer.Config, data string) error {
	if cfg.Run == "" {
		cfg.Run = time.Now().UTC().Format("20060102150405.000")
	}
	if cfg.Token == "" {
		cfg.Token = os.Getenv("CAUDAL_TOKEN")
	}
	if cfg.Token == "" {
		text, err := os.ReadFile(filepath.Join(data, "dev.token")) //nolint:gosec // the operator names the folder
		if err != nil {
			return fmt.Errorf("reading the key (--data names the folder of a running installation, --token a key): %w", err)
		}
		cfg.Token = strings.TrimSpace(string(text))
	}
	if cfg.URL != "" && len(cfg.Connect) > 0 {
		return nil
	}
	var known struct {
		HTTP    string `json:"http"`
		ISO8583 string `json:"iso8583"`
	}
	text, err := os.ReadFile(filepath.Join(data, "addresses.json")) //nolint:gosec // as above
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		return fmt.Errorf("reading where the doors are (--url and --connect name them): %w", err)
	}
	if cfg.URL == "" {
		cfg.URL = known.HTTP
	}
	if len(cfg.Connect) == 0 && known.ISO8583 != "" {
		cfg.Connect = []string{known.ISO8583}
	}
	return nil
}

func feed(cmd *cobra.Command, cfg acquirer.Config, find time.Duration, output string) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	a, err := acquirer.New(cfg)
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	defer a.Close()
	if err := a.Enrol(ctx); err != nil {
		return err //nolint:wrapcheck // as above
	}
	if cfg.Duration == 0 {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), enrolled) // the terminal may be gone
	}
	var result any
	var last *acquirer.Report
	if find > 0 {
		found, err := a.Find(ctx, cfg.Rate, find)
		if err != nil {
			return err //nolint:wrapcheck // as above
		}
		last, result = found.Trials[len(found.Trials)-1], found
	} else {
		if last, err = a.Run(ctx, cfg.Rate, cfg.Duration); err != nil {
			return err //nolint:wrapcheck // as above
		}
		result = last
	}
	if err := a.WriteClearings(); err != nil {
		return err //nolint:wrapcheck // as above
	}
	if cfg.Duration == 0 {
		ctx = context.WithoutCancel(ctx)
	}
	differing, err := a.Agree(ctx, 30*time.Second)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	last.WrongAnswers += len(differing)
	last.Wrong = append(last.Wrong, differing[:min(len(differing), 20)]...)
	if output == "json" {
		err = writeJSON(w, result)
	} else {
		err = printFeed(w, result)
	}
	if err == nil && wrongAnswers(result) > 0 {
		err = errWrongAnswers
	}
	return err
}

func wrongAnswers(result any) (n int) {
	switch r := result.(type) {
	case *acquirer.Report:
		return r.WrongAnswers
	case *acquirer.Found:
		for _, t := range r.Trials {
			n += t.WrongAnswers
		}
	}
	return n
}

func printFeed(w io.Writer, result any) error {
	var text strings.Builder
	reports := []*acquirer.Report{}
	switch r := result.(type) {
	case *acquirer.Report:
		reports = append(reports, r)
	case *acquirer.Found:
		reports = r.Trials
		defer func() { _, _ = fmt.Fprintf(w, "highest rate with a p99 under %.0f ms: %d/s\n", r.LimitMS, r.Rate) }() // the terminal may be gone
	}
	for _, r := range reports {
		fmt.Fprintf(&text, "%d/s asked, %.0f/s answered for %.0f s over %d connections: p50 %.1f ms, p99 %.1f, p99.9 %.1f, most %.1f\n",
			r.TargetRate, r.Rate, r.DurationS, r.Connections, r.P50MS, r.P99MS, r.P999MS, r.MaxMS)
		fmt.Fprintf(&text, "  approved %d, declined", r.Approved)
		for _, code := range slices.Sorted(maps.Keys(r.Declines)) {
			fmt.Fprintf(&text, " %s: %d", code, r.Declines[code])
		}
		fmt.Fprintf(&text, "; stand-ins %d, timeouts %d, reconnects %d, wrong answers %d\n", r.StandIns, r.Timeouts, r.Reconnects, r.WrongAnswers)
		for _, wrong := range r.Wrong {
			fmt.Fprintf(&text, "  wrong: %s\n", wrong)
		}
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	return nil
}
