package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

func (t *target) bind(cmd *cobra.Command, r *remote) {
	cmd.Flags().StringVar(&t.id, "id", "", "backend id, instead of KEY")
	t.bindNamespace(cmd.Flags())
	cmd.ValidArgsFunction = completeKeys(r)
}

func (t *target) bindNamespace(f *pflag.FlagSet) {
	f.StringVar(&t.namespace, "namespace", "", "namespace of KEY; KEY is then the whole name")
}

// key reads KEY: with --namespace it is the whole name; else what precedes the
// first "/" is the app, which is the key's namespace; else the app is the
// controller's default one, if it has one.
func (t *target) key(ctx context.Context, c *client.Client, cmd *cobra.Command, arg string) (plane.Key, error) {
	k, whole := t.written(cmd, arg)
	if whole {
		return k, nil
	}
	apps, err := appsOf(ctx, c)
	if err != nil {
		return k, err
	}
	k.Namespace = defaultOf(apps)
	return k, nil
}

// written is KEY as far as the command line says it, and whether that is all.
func (t *target) written(cmd *cobra.Command, arg string) (k plane.Key, whole bool) {
	if cmd.Flags().Changed("namespace") {
		return plane.Key{Name: arg, Namespace: t.namespace}, true
	}
	if app, name, ok := strings.Cut(arg, "/"); ok {
		return plane.Key{Name: name, Namespace: app}, true
	}
	return plane.Key{Name: arg}, false
}

// appsOf lists the apps. To whom may not see them, and of a controller of
// before there were any, there are none.
func appsOf(ctx context.Context, c *client.Client) (client.Apps, error) {
	apps, err := c.Apps(ctx)
	var older *client.UnexpectedStatus
	if plane.IsKind(err, plane.Forbidden) || errors.As(err, &older) && older.Status == http.StatusNotFound {
		return client.Apps{}, nil
	}
	return apps, err
}

// defaultOf is the namespace of keys that name no app.
func defaultOf(apps client.Apps) string {
	if apps.Default == nil {
		return ""
	}
	return *apps.Default
}

// check lets exactly one of KEY and --id through.
func (t *target) check(cmd *cobra.Command, given []string) error {
	switch {
	case t.id == "" && len(given) == 0:
		return misusef("name a KEY or give --id")
	case t.id != "" && len(given) > 0:
		return misusef("give a KEY or --id, not both")
	case t.id != "" && cmd.Flags().Changed("namespace"):
		return misusef("--namespace belongs to KEY; --id needs none")
	case len(given) > 1:
		return misusef("give one KEY, not %d", len(given))
	}
	return nil
}

// running is the backend that was named, or what runs for the KEY; "" if nothing does.
func (t *target) running(ctx context.Context, c *client.Client, cmd *cobra.Command, given []string) (client.Explanation, plane.BackendID, error) {
	why, id, err := t.find(ctx, c, cmd, given)
	if err == nil && id == "" && why.Now != nil {
		id = why.Now.Backend.BackendID
	}
	return why, id, err
}

// live is the running backend of the target; latest, if nothing runs, the one before.
func (t *target) live(ctx context.Context, c *client.Client, cmd *cobra.Command, given []string) (plane.BackendID, error) {
	why, id, err := t.running(ctx, c, cmd, given)
	if err != nil || id != "" {
		return id, err
	}
	return "", plane.NewError(plane.NotFound, fmt.Sprintf("Nothing runs for key %q.", why.Key))
}

func (t *target) latest(ctx context.Context, c *client.Client, cmd *cobra.Command, given []string) (plane.BackendID, error) {
	why, id, err := t.running(ctx, c, cmd, given)
	if err != nil || id != "" {
		return id, err
	}
	return why.History[0].Backend, nil
}

// find gives --id, or what is known of a key that had a backend.
func (t *target) find(ctx context.Context, c *client.Client, cmd *cobra.Command, given []string) (client.Explanation, plane.BackendID, error) {
	if t.id != "" {
		return client.Explanation{}, plane.BackendID(t.id), nil
	}
	k, err := t.key(ctx, c, cmd, given[0])
	if err != nil {
		return client.Explanation{}, "", err
	}
	why, err := c.Explain(ctx, k.Namespace, k.Name)
	if plane.IsKind(err, plane.NotFound) || err == nil && why.Now == nil && len(why.History) == 0 {
		err = plane.NewError(plane.NotFound, fmt.Sprintf("There is no backend of key %q.", k))
	}
	return why, "", err
}
