package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/railsim/server"
)

// started is what is printed once it serves.
type started struct {
	URL      string `json:"url"`
	Seed     uint64 `json:"seed"`
	Data     string `json:"data,omitempty"`
	Webhooks string `json:"webhooks,omitempty"`
}

const serveHelp = `Serves on one address, until it is told to stop:

  /cielo    Cielo, API E-commerce 3.0     MerchantId, MerchantKey
  /rede     Rede, e.Rede 1                Basic PV:token
  /pagarme  Pagar.me, core 5              Basic secret key, Idempotency-Key
  /bank     a bank that pays out          Bearer token
  /books    what was really done; /books/summary in short
  /disputes POST {"connector","charge","stage","amount","reason"}: a holder contests a charge, which is told by webhook. Stages are
            pre_dispute, dispute, pre_arbitration, won, lost; cielo tells dispute and pre_arbitration, pagarme dispute

The last character of a card token says what its issuer does: 0, 1, 4 or a letter approves, 2 does not authorise, 3 expired,
5 blocked, 6 times out, 7 cancelled, 8 has a problem, 9 is decided by the seed. Of a payout's account: 3 comes back
unpaid, 4 is called failed and paid after all, 5 is refused, 6 stays pending, 7 fails, 8 is returned after it was paid, 9 by the
seed, the others are paid.

Faults are a YAML file, or text with commas between:

  kind=rate               timeout_before timeout_after error_before error_after reset_before reset_after wrong_amount garbage
                          unfinished (cielo 0 or 12, pagarme processing, bank pending)
                          hook_duplicate hook_reorder hook_delay hook_lie_unknown hook_lie_amount hook_lie_state
  connector.kind=rate     for cielo, rede, pagarme or bank alone
  latency=rate:min..max/rate:min..max   in milliseconds; a distribution in pieces
  connector/operation/reference#call=kind   on purpose; * and no number stand for any
  timeout_ms=30000, hook_delay_ms=5000, hook_reorder_ms=2000

The file has the same as members: rates {kind: 2%}, connectors {connector: {kind: 2%}}, latency [{rate, min_ms, max_ms}],
script [{connector, operation, reference, call, fault}], timeout_ms, hook_delay_ms, hook_reorder_ms.

Operations are authorize, capture, void (cielo), refund (rede), cancel (pagarme), send (bank), query, search, and hook for
webhooks. "before" and "after" mean the effect: after timeout_after the money is taken, whatever the client believes. What falls is
decided by seed, connector, reference, operation and the number of the call among these, not by what arrives first.`

func serveCommand() *cobra.Command {
	var cfg server.Config
	var output string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Play acquirers and a bank on one HTTP server",
		Long:  serveHelp,
		Example: "  railsim serve --listen 127.0.0.1:9090 --data ./railsim-data --seed 7 \\\n" +
			"    --faults timeout_after=2%,reset_before=1%,hook_duplicate=5%,latency=90%:5..20/10%:100..400 \\\n" +
			"    --webhooks http://127.0.0.1:8080/webhooks",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %q: choose table or json", output)
			}
			cfg.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
			return serve(cmd, cfg, output)
		},
	}
	cfg.Flags(c.Flags())
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json: how address and, at the end, the summary are printed")
	return c
}

func serve(cmd *cobra.Command, cfg server.Config, output string) error {
	s, err := server.New(cfg)
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if err := printStarted(cmd.OutOrStdout(), started{URL: "http://" + l.Addr().String(), Seed: cfg.Seed, Data: cfg.Data, Webhooks: cfg.Webhooks}, output); err != nil {
		return err
	}
	if err := s.Run(cmd.Context(), l); err != nil {
		return err //nolint:wrapcheck // as above
	}
	return printSummary(cmd.OutOrStdout(), s.Summary(), output)
}

func printStarted(w io.Writer, s started, output string) error {
	if output == "json" {
		return writeJSON(w, s)
	}
	keeps := "keeps nothing (--data)"
	if s.Data != "" {
		keeps = "keeps its books in " + s.Data
	}
	if _, err := fmt.Fprintf(w, "simulator on %s, seed %d, %s\n", s.URL, s.Seed, keeps); err != nil {
		return fmt.Errorf("printing the address: %w", err)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("printing as JSON: %w", err)
	}
	return nil
}
