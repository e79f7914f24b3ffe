package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newAPIKeyCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "api-key",
		Short:   "Make, list and delete API keys",
		GroupID: groupUse,
	}, newAPIKeyCreateCommand(), newAPIKeyListCommand(), newAPIKeyRemoveCommand())
}

func newAPIKeyCreateCommand() *cobra.Command {
	var r remote
	var grants []string
	cmd := &cobra.Command{
		Use:   "create NAME --grant GRANT...",
		Short: "Make an API key; its secret is shown once",
		Long: "Make an API key; its secret is shown once.\n\n" +
			"A grant is VERB or VERB:NAMESPACE/*. Verbs: connect, read, terminate, revoke,\n" +
			"app (apply and roll back), data (give up kept data), drain, api-key, node (sockets\n" +
			"of drones and proxies), and * for all.",
		Example: "  plane api-key create website --grant 'connect:board/*' --grant read",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(grants) == 0 {
				return misusef("say what the key may do, e.g. --grant 'connect:team-a/*' --grant read")
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			key, err := c.CreateAPIKey(cmd.Context(), given[0], grants)
			if err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), key)
			}
			return card(cmd.OutOrStdout(),
				[2]string{"id", key.ID},
				[2]string{"name", key.Name},
				[2]string{"grants", strings.Join(key.Grants, " ")},
				[2]string{"secret", key.Secret + "   (shown this once)"},
			)
		},
	}
	r.bind(cmd.Flags())
	cmd.Flags().StringSliceVar(&grants, "grant", nil, "what the key may do; may be repeated")
	return cmd
}

func newAPIKeyListCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List API keys",
		Example: "  plane api-key ls",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			keys, err := c.APIKeys(cmd.Context())
			if err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"api_keys": keys})
			}
			rows := [][]string{{"ID", "NAME", "CREATED", "GRANTS"}}
			for _, k := range keys {
				rows = append(rows, []string{k.ID, k.Name, clock(k.CreatedAt), strings.Join(k.Grants, " ")})
			}
			return table(cmd.OutOrStdout(), rows)
		},
	}
	r.bind(cmd.Flags())
	return cmd
}

func newAPIKeyRemoveCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "rm ID",
		Aliases: []string{"delete"},
		Short:   "Delete an API key",
		Example: "  plane api-key rm ap-1a2b3c",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if err := c.DeleteAPIKey(cmd.Context(), given[0]); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"deleted": given[0]})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "API key %s deleted\n", given[0])
			return err
		},
	}
	r.bind(cmd.Flags())
	return cmd
}
