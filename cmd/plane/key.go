package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane"
	"plane/client"
)

// target is what a command is about: KEY, which is [APP/]NAME, or --id.
type target struct {
	namespace string
	id        string
}

func (t *target) bind(f *pflag.FlagSet) {
	f.StringVar(&t.id, "id", "", "backend id, instead of KEY")
	f.StringVar(&t.namespace, "namespace", "", "namespace of KEY; KEY is then the whole name")
}

// key reads KEY. Without --namespace what precedes the first "/" is the app,
// which is the key's namespace.
func (t *target) key(cmd *cobra.Command, arg string) plane.Key {
	if cmd.Flags().Changed("namespace") {
		return plane.Key{Name: arg, Namespace: t.namespace}
	}
	if app, name, ok := strings.Cut(arg, "/"); ok {
		return plane.Key{Name: name, Namespace: app}
	}
	return plane.Key{Name: arg}
}

// check lets exactly one of KEY and --id through.
func (t *target) check(cmd *cobra.Command, given []string) error {
	switch {
	case t.id == "" && len(given) == 0:
		return misusef("name a KEY or give --id")
	case t.id != "" && len(given) > 0:
		return misusef("give a KEY or --id, not both")
	case len(given) > 1:
		return misusef("give one KEY, not %d", len(given))
	}
	return nil
}

// live is the running backend of the target; latest, if nothing runs, the one before.
func (t *target) live(ctx context.Context, c *client.Client, cmd *cobra.Command, given []string) (plane.BackendID, error) {
	return t.find(ctx, c, cmd, given, false)
}

func (t *target) latest(ctx context.Context, c *client.Client, cmd *cobra.Command, given []string) (plane.BackendID, error) {
	return t.find(ctx, c, cmd, given, true)
}

func (t *target) find(ctx context.Context, c *client.Client, cmd *cobra.Command, given []string, ended bool) (plane.BackendID, error) {
	if t.id != "" {
		return plane.BackendID(t.id), nil
	}
	k := t.key(cmd, given[0])
	why, err := c.Explain(ctx, k.Namespace, k.Name)
	switch {
	case plane.IsKind(err, plane.NotFound):
		return "", plane.NewError(plane.NotFound, fmt.Sprintf("There is no backend of key %q.", k))
	case err != nil:
		return "", err
	case why.Now != nil:
		return why.Now.Backend.BackendID, nil
	case ended && len(why.History) > 0:
		return why.History[0].Backend, nil
	case len(why.History) > 0:
		return "", plane.NewError(plane.NotFound, fmt.Sprintf("Nothing runs for key %q.", k))
	}
	return "", plane.NewError(plane.NotFound, fmt.Sprintf("There is no backend of key %q.", k))
}
