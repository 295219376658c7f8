package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caudalpay/caudal/cmd/caudal/embedded/fetch"
)

func fetchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch",
		Short: "Fetch the embedded engines (Postgres, ClickHouse) into the cache, pinned and checked by hash",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := fetch.Ensure(cmd.Context(), fetch.Options{Progress: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "postgres    %s\nclickhouse  %s\n", b.PostgresHome, b.ClickHouseLibrary)
			return err
		},
	}
}
