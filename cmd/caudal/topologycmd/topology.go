// Package topologycmd is `caudal topology`: what the accounts group reads, writes and stores, as a table, as JSON for
// programs, or drawn. It asks no broker: it shows what this program would run.
package topologycmd

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/topology"
)

// New is the command.
func New() *cobra.Command {
	var output string
	var partitions int32
	c := &cobra.Command{
		Use:   "topology",
		Short: "Print or draw what the streams workers read, write and store",
		Long: "Shows the graph of the accounts group as this program has it: its input, the tables and side records it keeps, what it\n" +
			"looks up and what it writes, with key, schema, partitions and retention of each. It asks no broker.\n\n" +
			"  caudal topology -o svg > topology.svg\n" +
			"  caudal topology -o dot | dot -Tpng > topology.png",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if partitions < 1 || partitions > 64 {
				return fmt.Errorf("--partitions is %d: choose 1 to 64", partitions)
			}
			print := map[string]func(io.Writer, topology.Description) error{"table": writeTable, "json": writeJSON, "dot": writeDot, "svg": writeSVG}[output]
			if print == nil {
				return fmt.Errorf("--output is %q: choose table, json, dot or svg", output)
			}
			return print(cmd.OutOrStdout(), topology.DescribeAccounts(partitions))
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table, json, dot or svg")
	c.Flags().Int32Var(&partitions, "partitions", topics.PartitionsDefault, "partitions of the installation")
	return c
}

func writeTable(w io.Writer, d topology.Description) error {
	if _, err := fmt.Fprintf(w, "group %s, %d partitions, keys spread by %s\n", d.Group, d.Partitions, d.Hash); err != nil {
		return err
	}
	t := newTable(w, "is its", "topic", "key", "value", "partitions", "keeps")
	for _, e := range d.Edges {
		t.AppendRow(table.Row{e.Role, e.Topic, e.Key, e.Schema, e.Partitions, e.Keeps})
	}
	t.Render()
	t = newTable(w, "side record", "whose", "scope", "id", "value")
	for _, r := range d.Records {
		t.AppendRow(table.Row{r.Kind, r.Owner, r.Scope, r.ID, r.Value})
	}
	t.Render()
	return nil
}

func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	return t
}

func writeJSON(w io.Writer, d topology.Description) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return fmt.Errorf("encoding topology: %w", err)
	}
	return nil
}
