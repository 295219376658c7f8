package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/client"
	door "github.com/caudalpay/caudal/ingest/http"
	"github.com/caudalpay/caudal/processors/money"
)

// patience of who asks one question and waits for the answer.
const patience = 5 * time.Second

func paymentsCommand() *cobra.Command {
	c := &cobra.Command{Use: "payments", Short: "Payments of a running installation"}
	c.AddCommand(timelineCommand())
	return c
}

func timelineCommand() *cobra.Command {
	var address, data, token, output string
	c := &cobra.Command{
		Use:   "timeline ID",
		Short: "What became of a payment: every command, decision and order, with its place in the log",
		Long: "Asks the API as a merchant does, with a key of the merchant (--token) or of the data folder, so it shows a merchant's\n" +
			"own payments. ID is a payment's, or that of a capture, void, increment or refund: then only what is about it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %q: choose table or json", output)
			}
			token, err := tokenOr(token, data)
			if err != nil {
				return err
			}
			api := client.New(address, token, 1).Within(patience)
			defer api.Close()
			events, err := timeline(cmd.Context(), api, args[0])
			if err != nil {
				return err
			}
			return printTimeline(cmd.OutOrStdout(), events, output)
		},
	}
	f := c.Flags()
	f.StringVar(&address, "url", "http://127.0.0.1:8080", "address of the API")
	f.StringVar(&data, "data", dataDefault, "data folder whose token to use")
	f.StringVar(&token, "token", "", "bearer token, instead of the data folder's")
	f.StringVarP(&output, "output", "o", "table", "table or json (one event per line)")
	return c
}

// tokenOr is the token given, else that of a data folder.
func tokenOr(token, data string) (string, error) {
	if token != "" {
		return token, nil
	}
	stored, err := os.ReadFile(filepath.Join(data, "dev.token")) //nolint:gosec // the operator names the folder
	if err != nil {
		return "", fmt.Errorf("reading the token of the data folder (--data): %w", err)
	}
	return strings.TrimSpace(string(stored)), nil
}

// timeline reads all pages.
func timeline(ctx context.Context, api *client.Client, id string) ([]door.TimelineEvent, error) {
	path := "/payments/" + url.PathEscape(id) + "/timeline?limit=500"
	var events []door.TimelineEvent
	for cursor := ""; ; {
		a, err := api.Do(ctx, client.Request{Method: http.MethodGet, Path: path + cursor})
		if err != nil {
			return nil, err
		}
		if a.Status != http.StatusOK {
			var problem client.Problem
			_ = json.Unmarshal(a.Body, &problem) // what is no problem document is told as it came
			return nil, fmt.Errorf("the timeline of %s: %d %s", id, a.Status, problem.Code)
		}
		var page door.TimelinePage
		if err := json.Unmarshal(a.Body, &page); err != nil {
			return nil, fmt.Errorf("reading the timeline of %s: %w", id, err)
		}
		events = append(events, page.Events...)
		if !page.HasMore {
			return events, nil
		}
		cursor = "&cursor=" + page.Cursor
	}
}

func printTimeline(w io.Writer, events []door.TimelineEvent, output string) error {
	if output == "json" {
		encoder := json.NewEncoder(w)
		for i := range events {
			if err := encoder.Encode(&events[i]); err != nil {
				return fmt.Errorf("printing events: %w", err)
			}
		}
		return nil
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"at (UTC)", "+ms", "stage", "what", "amount", "status", "why and how", "place"})
	for i := range events {
		t.AppendRow(timelineLine(&events[i]))
	}
	t.Render()
	return nil
}

func timelineLine(e *door.TimelineEvent) table.Row {
	amount, place := "", fmt.Sprintf("%s %d", e.Topic, e.Partition)
	switch {
	case e.Amount != 0:
		amount = money.Format(e.Amount, e.Currency) + " " + e.Currency
	case e.RailAmount != 0:
		amount = fmt.Sprint(e.RailAmount, " minor")
	}
	if e.Offset != nil {
		place += fmt.Sprint("/", *e.Offset)
	}
	what := words(" ", e.Kind, e.Decision, e.RailResult)
	status := words(" / ", e.Status, e.PaymentStatus)
	why := words(" ", strings.Join(e.Reasons, " "), strings.Join(e.Journals, "+"), e.Connector, e.RailCode, e.RailReference, e.OrderID, e.AccountID)
	return table.Row{e.At.UTC().Format("2006-01-02 15:04:05.000"), e.MS, e.Stage, what, amount, status, why, place}
}

// words joins those that are there.
func words(between string, list ...string) string {
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), between)
}
