package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/lines"
)

// loaded is what became of a file.
type loaded struct {
	result  any // as JSON
	lines   int // 0: nothing was sent
	refused []lines.Refusal
	stale   []lines.Refusal // named too, and no failure
	footers []table.Row
}

// loadCommand makes a command of c that loads the file of a card network: flags into o, what became of the lines onto the terminal.
func loadCommand(c *cobra.Command, o *lines.Options, load func(context.Context) (loaded, error)) *cobra.Command {
	var data, output string
	c.Args = cobra.ExactArgs(1)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if output != "table" && output != "json" {
			return fmt.Errorf("-o %q: choose table or json", output)
		}
		if err := o.Validate(); err != nil {
			return fmt.Errorf("--workers: %w", err)
		}
		o.File, o.Progress = args[0], cmd.ErrOrStderr()
		var err error
		if o.Token, err = tokenOr(o.Token, data); err != nil {
			return err
		}
		l, err := load(cmd.Context())
		if err != nil && l.lines == 0 {
			return err
		}
		err = errors.Join(err, l.print(cmd, output))
		if n := len(l.refused); err == nil && n > 0 {
			err = fmt.Errorf("%d of %d lines are not in the books", n, l.lines)
		}
		return err
	}
	f := c.Flags()
	f.StringVar(&o.URL, "url", "http://127.0.0.1:8080", "address of the API")
	f.StringVar(&data, "data", dataDefault, "data folder whose token to use")
	f.StringVar(&o.Token, "token", "", "bearer token, instead of the data folder's")
	f.IntVar(&o.Workers, "workers", o.Workers, "requests in flight")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

// print draws the lines that somebody may want to look at, and what became of the others.
func (l *loaded) print(cmd *cobra.Command, output string) error {
	if output == "json" {
		return printJSON(cmd.OutOrStdout(), l.result)
	}
	t := table.NewWriter()
	t.SetOutputMirror(cmd.OutOrStdout())
	t.SetStyle(table.StyleLight)
	t.Style().Format.Footer = text.FormatDefault
	t.AppendHeader(table.Row{"line", "code", "why", "about"})
	for _, r := range slices.Concat(l.refused, l.stale) {
		t.AppendRow(table.Row{r.Line, r.Code, r.Detail, r.Instance})
	}
	for _, row := range l.footers {
		t.AppendFooter(row)
	}
	t.Render()
	return nil
}
