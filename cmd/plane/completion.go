package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

func newCompletionCommand() *cobra.Command {
	var asJSON bool
	shells := []string{"bash", "zsh", "fish"}
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes verbs, keys, apps and nodes",
		Long: `Print a script that makes your shell complete verbs, flags, keys, apps and nodes.

  bash  source <(plane completion bash)
  zsh   source <(plane completion zsh)          after compinit
  fish  plane completion fish | source

Put the line into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish to keep it.`,
		Example:   "  plane completion fish > ~/.config/fish/completions/plane.fish",
		GroupID:   groupUse,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, given []string) error {
			switch {
			case len(given) != 1:
				return misusef("name one shell: bash, zsh or fish")
			case !slices.Contains(shells, given[0]):
				return misusef("there is no completion for %q; name bash, zsh or fish", given[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			script, err := completionScript(cmd.Root(), given[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{"shell": given[0], "script": script})
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), script)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func completionScript(root *cobra.Command, shell string) (string, error) {
	var b bytes.Buffer
	var err error
	switch shell {
	case "zsh":
		err = root.GenZshCompletion(&b)
	case "fish":
		err = root.GenFishCompletion(&b, true)
	default:
		if err = root.GenBashCompletionV2(&b, true); err == nil {
			return plainBash(b.String())
		}
	}
	return b.String(), err
}

// bashWords does for the script what the package bash-completion would do: it
// sets the words up to the cursor, with = and : inside of them, at which bash
// itself splits.
//
//go:embed completion.bash
var bashWords string

// plainBash makes the script one that works also without that package.
func plainBash(script string) (string, error) {
	const theirs = "    _get_comp_words_by_ref \"$@\" cur prev words cword\n"
	const ours = "    if declare -F _get_comp_words_by_ref >/dev/null; then\n    " + theirs + "    else\n        __plane_words\n    fi\n"
	if !strings.Contains(script, theirs) {
		return "", errors.New("the completion script for bash isn't what it was; this is a fault of Plane")
	}
	return strings.Replace(script, theirs, ours, 1) + "\n" + bashWords, nil
}

// completeFor is how long a shell waits for a controller: nobody wants a key
// press to hang.
const completeFor = time.Second

type completion = func(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective)

// completing asks the controller, and is silent if it doesn't answer.
func completing(r *remote, ask func(ctx context.Context, c *client.Client, begun string) ([]cobra.Completion, error)) completion {
	return func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := r.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeFor)
		defer cancel()
		found, err := ask(ctx, c, begun)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(found, func(s string) bool { return !strings.HasPrefix(s, begun) || !typeable(s) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// typeable reports whether a shell can take a completion, which may have a
// description after a tab.
func typeable(s string) bool {
	word, about, _ := strings.Cut(s, "\t")
	return cell(word) == word && cell(about) == about
}

// mostCompletions is more than anyone reads.
const mostCompletions = 500

// completeKeys completes the keys of live backends, as they would be typed.
func completeKeys(r *remote) completion {
	return completing(r, func(ctx context.Context, c *client.Client, begun string) ([]cobra.Completion, error) {
		apps, err := appsOf(ctx, c)
		if err != nil {
			return nil, err
		}
		f := client.Filter{Live: true}
		if app, prefix, ok := strings.Cut(begun, "/"); ok {
			f.Namespace, f.KeyPrefix = &app, prefix
		}
		var found []cobra.Completion
		for b, err := range c.Backends(ctx, f) {
			if err != nil {
				return nil, err
			}
			key := b.Key.String()
			if f.Namespace == nil && b.Key.Namespace == defaultOf(apps) && !strings.Contains(b.Key.Name, "/") {
				key = b.Key.Name
			}
			if found = append(found, cobra.CompletionWithDesc(key, string(b.Status))); len(found) == mostCompletions {
				break
			}
		}
		slices.Sort(found)
		return slices.Compact(found), nil
	})
}

func completeApps(r *remote) completion {
	return completing(r, func(ctx context.Context, c *client.Client, _ string) ([]cobra.Completion, error) {
		apps, err := appsOf(ctx, c)
		var found []cobra.Completion
		for _, a := range apps.Apps {
			if a.Name != "" {
				found = append(found, cobra.CompletionWithDesc(a.Name, programText(a.Spec)))
			}
		}
		return found, err
	})
}

// completeNodes completes the drones and proxies of the cluster that is named.
func completeNodes(r *clusterRemote) completion {
	return completing(&r.remote, func(ctx context.Context, c *client.Client, _ string) ([]cobra.Completion, error) {
		name, err := clusterOf(ctx, c, r.cluster)
		if err != nil {
			return nil, err
		}
		state, err := c.ClusterState(ctx, name)
		return nodeNames(state), err
	})
}

func nodeNames(state client.ClusterState) []cobra.Completion {
	var found []cobra.Completion
	for _, d := range state.Drones {
		found = append(found, cobra.CompletionWithDesc(string(d.Node.NodeName()), "drone, "+droneState(d)))
	}
	for _, p := range state.Proxies {
		found = append(found, cobra.CompletionWithDesc(string(p.NodeName()), "proxy"))
	}
	return found
}

// completeFlags completes the values of those flags that cmd has.
func completeFlags(cmd *cobra.Command, r *remote) {
	statuses := make([]cobra.Completion, len(plane.Statuses))
	for i, s := range plane.Statuses {
		statuses[i] = string(s)
	}
	for name, f := range map[string]completion{
		"app":       completeApps(r),
		"namespace": completeApps(r),
		"drone": func(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return completeNodes(&clusterRemote{remote: *r})(cmd, given, begun) // r as it is by then, with its flags
		},
		"lease":  cobra.FixedCompletions([]cobra.Completion{"fast", "balanced", "sticky"}, cobra.ShellCompDirectiveNoFileComp),
		"status": cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp),
		"sort":   cobra.FixedCompletions([]cobra.Completion{sortCPU, sortMemory, sortKey}, cobra.ShellCompDirectiveNoFileComp),
	} {
		if cmd.Flags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, f) // fails only for flags that there aren't
		}
	}
}
