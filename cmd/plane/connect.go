package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane"
	"plane/client"
)

// connectFlags are what `plane connect` may say beside KEY.
type connectFlags struct {
	remote
	target

	programFlags

	app, tag, user, auth          string
	dir, mount                    string
	cluster, pool, subdomain      string
	backend, lease, port          string
	static, noWait                bool
	maxIdle, lifetime, tokenLives time.Duration
}

func newConnectCommand() *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "connect [KEY] [--image IMAGE] [-- COMMAND ARG...]",
		Short: "Start or find the backend of a key and print its URL",
		Long: "Start or find the backend of a key and print its URL. KEY is [APP/]NAME; without\n" +
			"one a new key is made up. Waits until the backend is ready.",
		Example: "  plane connect doc-17\n" +
			"  plane connect doc-17 --image registry.example.com/board:7 --env THEME=dark\n" +
			"  plane connect doc-17 --user alice --auth '{\"role\":\"editor\"}' -- ./my-server",
		GroupID: groupUse,
		Args: func(cmd *cobra.Command, given []string) error {
			if words, _ := split(cmd, given); len(words) > 1 {
				return misusef("give one KEY, not %d; a command stands after \"--\"", len(words))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			words, command := split(cmd, given)
			c, err := f.client()
			if err != nil {
				return err
			}
			req, err := f.request(cmd.Context(), c, cmd, words, command)
			if err != nil {
				return err
			}
			return f.run(cmd, c, req)
		},
	}
	f.bind(cmd.Flags())
	cmd.ValidArgsFunction = completeKeys(&f.remote)
	completeFlags(cmd, &f.remote)
	completeProgram(cmd)
	return cmd
}

func (f *connectFlags) bind(flags *pflag.FlagSet) {
	f.remote.bind(flags)
	f.bindNamespace(flags)
	flags.StringVar(&f.app, "app", "", "app of KEY; KEY is then the whole name")
	flags.StringVar(&f.tag, "tag", "", "tag that the key must be held with")
	flags.StringVar(&f.user, "user", "", "user that the backend is told of")
	flags.StringVar(&f.auth, "auth", "", "JSON object that the backend is told")
	f.programFlags.bind(flags)
	flags.StringVar(&f.mount, "mount", "", "directory below the drone's mount base that an image sees as /plane-data; true = one of the key's own")
	flags.StringVar(&f.dir, "dir", "", "working directory of the program")
	flags.StringVar(&f.cluster, "cluster", "", "cluster to start in")
	flags.StringVar(&f.pool, "pool", "", "pool of drones to start in")
	flags.StringVar(&f.subdomain, "subdomain", "", "subdomain of the backend's URL")
	flags.StringVar(&f.backend, "id", "", "id of a new backend")
	flags.StringVar(&f.port, "port", "", "further port of the app that the URL leads to, by its name")
	flags.StringVar(&f.lease, "lease", "", "fast, balanced or sticky")
	flags.BoolVar(&f.static, "static-token", false, "one token for everybody, as long as the backend lives")
	flags.BoolVar(&f.noWait, "no-wait", false, "don't wait until the backend is ready")
	flags.DurationVar(&f.maxIdle, "max-idle", 0, "end it after so long without a request")
	flags.DurationVar(&f.lifetime, "lifetime", 0, "end it after so long")
	flags.DurationVar(&f.tokenLives, "token-lifetime", 0, "the URL works for so long (default: as long as the backend lives)")
}

// split tells what stands before "--" from the command behind it.
func split(cmd *cobra.Command, given []string) (words, command []string) {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		return given[:at], given[at:]
	}
	return given, nil
}

func (f *connectFlags) request(ctx context.Context, c *client.Client, cmd *cobra.Command, words, command []string) (client.ConnectRequest, error) {
	req := client.ConnectRequest{Port: f.port}
	spec, err := f.spec(cmd, command)
	if err != nil {
		return req, err
	}
	req.Spawn = spec
	if cmd.Flags().Changed("user") {
		req.User = &f.user
	}
	if f.auth != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(f.auth), &object); err != nil || object == nil {
			return req, misusef("--auth must be a JSON object, such as '{\"role\":\"editor\"}'")
		}
		req.Auth = json.RawMessage(f.auth)
	}
	if !f.noWait {
		req.Wait = "ready"
	}
	if f.tokenLives > 0 {
		req.TokenLifetime = int(math.Ceil(f.tokenLives.Seconds()))
	}
	if err := f.place(ctx, c, cmd, words, &req); err != nil {
		return req, err
	}
	if req.Key == nil { // a controller would make one up as well, and not say so before it is ready
		req.Key = &plane.Key{Namespace: req.App, Name: plane.RandomName(rand.Reader, plane.PrefixKey), Tag: f.tag}
	}
	return req, nil
}

// place says of which app the backend is, and with which key.
func (f *connectFlags) place(ctx context.Context, c *client.Client, cmd *cobra.Command, words []string, req *client.ConnectRequest) error {
	own := req.Spawn != nil && len(req.Spawn.Executable) > 0 // what to start is said here
	if f.app != "" {
		switch {
		case own:
			return misusef("give --app, or --image or a command, not both")
		case cmd.Flags().Changed("namespace") && f.namespace != f.app:
			return misusef("give --app or --namespace; the namespace of an app's keys is its name")
		}
		req.App = f.app
		if len(words) == 1 {
			req.Key = &plane.Key{Namespace: f.app, Name: words[0], Tag: f.tag}
		}
		return nil
	}
	apps, err := appsOf(ctx, c)
	if err != nil {
		return err
	}
	namespace := defaultOf(apps)
	if len(words) == 1 {
		k, whole := f.written(cmd, words[0])
		if !whole {
			k.Namespace = namespace
		}
		namespace, k.Tag = k.Namespace, f.tag
		req.Key = &k
	}
	if !own && isApp(apps, namespace) {
		req.App = namespace
	}
	return nil
}

// isApp reports whether there is an app of that name; the unnamed one needs
// not be named.
func isApp(apps client.Apps, name string) bool {
	return name != "" && slices.ContainsFunc(apps.Apps, func(a client.App) bool { return a.Name == name })
}

// spec is what to start, or nil if the command line doesn't say.
func (f *connectFlags) spec(cmd *cobra.Command, command []string) (*plane.Spec, error) {
	s := plane.Spec{Pool: f.pool, UseStaticToken: f.static, Lease: plane.Policy(f.lease)}
	for _, d := range []struct {
		name string
		v    time.Duration
		into **int32
	}{{"max-idle", f.maxIdle, &s.MaxIdle}, {"lifetime", f.lifetime, &s.LifetimeLimit}} {
		if !cmd.Flags().Changed(d.name) {
			continue
		}
		n := math.Ceil(d.v.Seconds())
		if n < 0 || n > math.MaxInt32 {
			return nil, misusef("--%s is out of range", d.name)
		}
		whole := int32(n)
		*d.into = &whole
	}
	for _, t := range []struct {
		v    string
		into **string
	}{{f.backend, &s.ID}, {f.cluster, &s.Cluster}, {f.subdomain, &s.Subdomain}} {
		if t.v != "" {
			*t.into = &t.v
		}
	}
	if f.image == "" && len(command) == 0 {
		if f.dir != "" || f.mount != "" || f.runtime != "" || f.named() {
			return nil, misusef("flags that say how a program is run need one: add --image IMAGE or -- COMMAND")
		}
		if reflect.ValueOf(s).IsZero() {
			return nil, nil
		}
		return &s, nil // of an app whose executable the controller knows
	}
	x, err := f.executable(cmd.InOrStdin(), command)
	if err != nil {
		return nil, err
	}
	if err := f.directories(&x); err != nil {
		return nil, err
	}
	s.Executable, err = checked(x)
	return &s, err
}

// directories are those that it works in and gets.
func (f *connectFlags) directories(x *plane.Executable) error {
	x.Dir = f.dir
	if f.dir != "" && f.image == "" {
		abs, err := filepath.Abs(f.dir)
		if err != nil {
			return misusef("--dir: %w", err)
		}
		x.Dir = abs
	}
	switch f.mount {
	case "":
	case "true":
		x.Mount = json.RawMessage("true")
	default:
		path, err := json.Marshal(f.mount)
		if err != nil {
			return misusef("--mount: %w", err)
		}
		x.Mount = path
	}
	return nil
}

// connect asks for the backend.
func (f *connectFlags) connect(ctx context.Context, c *client.Client, req client.ConnectRequest) (client.ConnectResponse, error) {
	got, err := c.Connect(ctx, req)
	if req.Spawn != nil || req.App != "" || !plane.IsKind(err, plane.KeyUnheldNoSpawnConfig) {
		return got, err
	}
	// The controller of plane dev knows what to start by itself; others
	// say that nothing was given.
	req.Spawn = &plane.Spec{}
	own, e := c.Connect(ctx, req)
	if !plane.IsKind(e, plane.BadRequest) {
		return own, e
	}
	return got, nothingToStart(ctx, c, req.Key)
}

// nothingToStart says what could be started.
func nothingToStart(ctx context.Context, c *client.Client, k *plane.Key) error {
	text := "Nothing runs for this key, and nothing says what to start: give --image IMAGE, -- COMMAND, or an app (APP/NAME)."
	apps, listing := appsOf(ctx, c)
	if listing != nil || k == nil || k.Namespace == "" {
		return plane.NewError(plane.KeyUnheldNoSpawnConfig, text)
	}
	var names []string
	for _, a := range apps.Apps {
		if a.Name != "" {
			names = append(names, a.Name)
		}
	}
	switch best := plane.Nearest(k.Namespace, names); {
	case best == k.Namespace || len(names) == 0:
	case best != "":
		text = fmt.Sprintf("Nothing runs for %s, and there is no app %q; did you mean %q?", k, k.Namespace, best)
	default:
		text = fmt.Sprintf("Nothing runs for %s, and there is no app %q; there are %s.", k, k.Namespace, strings.Join(names, ", "))
	}
	return plane.NewError(plane.KeyUnheldNoSpawnConfig, text)
}

// connected asks for the backend, and waits for it unless that isn't wanted.
func (f *connectFlags) connected(cmd *cobra.Command, c *client.Client, req client.ConnectRequest) (client.ConnectResponse, error) {
	w := waiting{
		client: c, line: newProgressLine(cmd.ErrOrStderr()), patience: standstill,
		connect: func(ctx context.Context, req client.ConnectRequest) (client.ConnectResponse, error) {
			return f.connect(ctx, c, req)
		},
	}
	return w.until(cmd.Context(), req)
}

func (f *connectFlags) run(cmd *cobra.Command, c *client.Client, req client.ConnectRequest) error {
	got, err := f.connected(cmd, c, req)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.json {
		return printJSON(out, got)
	}
	if !got.Spawned && req.Spawn != nil && len(req.Spawn.Executable) > 0 {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "plane: it runs already; what to start was not used")
	}
	how := "found"
	if got.Spawned {
		how = "started"
	}
	if got.Drone != nil {
		how += " on " + string(*got.Drone)
	}
	keyURL := "none: only backends of an app have one"
	if got.URLs.Key != nil {
		keyURL = *got.URLs.Key
	}
	expires := ""
	if got.Expires != nil {
		expires = clock(*got.Expires)
	}
	_, _ = fmt.Fprintf(out, "%s\n\n", got.URL)
	return card(out,
		[2]string{"key", got.Key.String()},
		[2]string{"key URL", keyURL},
		[2]string{"backend", fmt.Sprintf("%s (%s)", got.BackendID, how)},
		[2]string{"generation", generationText(got.Generation)},
		[2]string{"status", string(got.Status)},
		[2]string{"URL works until", expires},
	)
}
