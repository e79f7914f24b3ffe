package main

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"strconv"
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

	app, tag, user, auth          string
	image, dir                    string
	env                           []string
	cluster, pool, subdomain      string
	backend, lease                string
	static, noWait                bool
	maxIdle, lifetime, tokenLives time.Duration
}

func newConnectCommand() *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "connect [KEY] [--image IMAGE | -- COMMAND ARG...]",
		Short: "Start or find the backend of a key and print its URL",
		Long: "Start or find the backend of a key and print its URL. KEY is [APP/]NAME; without\n" +
			"one a new key is made up. Waits until the backend is ready.",
		Example: "  plane connect doc-17\n" +
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
			req, err := f.request(cmd, words, command)
			if err != nil {
				return err
			}
			return f.run(cmd, req)
		},
	}
	f.bind(cmd.Flags())
	return cmd
}

func (f *connectFlags) bind(flags *pflag.FlagSet) {
	f.remote.bind(flags)
	flags.StringVar(&f.namespace, "namespace", "", "namespace of KEY; KEY is then the whole name")
	flags.StringVar(&f.app, "app", "", "app to start if nothing runs")
	flags.StringVar(&f.tag, "tag", "", "tag that the key must be held with")
	flags.StringVar(&f.user, "user", "", "user that the backend is told of")
	flags.StringVar(&f.auth, "auth", "", "JSON object that the backend is told")
	flags.StringVar(&f.image, "image", "", "image to run if nothing runs")
	flags.StringVar(&f.dir, "dir", "", "working directory of COMMAND")
	flags.StringArrayVar(&f.env, "env", nil, "NAME=VALUE for the backend; may be repeated")
	flags.StringVar(&f.cluster, "cluster", "", "cluster to start in")
	flags.StringVar(&f.pool, "pool", "", "pool of drones to start in")
	flags.StringVar(&f.subdomain, "subdomain", "", "subdomain of the backend's URL")
	flags.StringVar(&f.backend, "id", "", "id of a new backend")
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

func (f *connectFlags) request(cmd *cobra.Command, words, command []string) (client.ConnectRequest, error) {
	req := client.ConnectRequest{App: f.app}
	if len(words) == 1 {
		k := f.key(cmd, words[0])
		k.Tag = f.tag
		req.Key = &k
	}
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
	spec, err := f.spec(cmd, command)
	req.Spawn = spec
	return req, err
}

// spec is what to start, or nil if the command line doesn't say.
func (f *connectFlags) spec(cmd *cobra.Command, command []string) (*plane.Spec, error) {
	x := plane.Executable{Image: f.image, Command: command}
	switch {
	case f.image != "" && len(command) > 0:
		return nil, misusef("give --image or a command, not both")
	case f.dir != "":
		abs, err := filepath.Abs(f.dir)
		if err != nil {
			return nil, misusef("--dir: %w", err)
		}
		x.Dir = abs
	}
	for _, e := range f.env {
		name, v, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return nil, misusef("--env %q: write NAME=VALUE", e)
		}
		if x.Env == nil {
			x.Env = map[string]string{}
		}
		x.Env[name] = v
	}
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
		if f.dir != "" || len(f.env) > 0 {
			return nil, misusef("--dir and --env belong to --image or -- COMMAND")
		}
		if reflect.ValueOf(s).IsZero() {
			return nil, nil
		}
		return &s, nil // of an app whose executable the controller knows
	}
	raw, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("encode executable: %w", err)
	}
	s.Executable = raw
	return &s, nil
}

func (f *connectFlags) run(cmd *cobra.Command, req client.ConnectRequest) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	got, err := c.Connect(cmd.Context(), req)
	if req.Spawn == nil && plane.IsKind(err, plane.KeyUnheldNoSpawnConfig) {
		// The controller of plane dev knows what to start by itself; others
		// say that nothing was given.
		req.Spawn = &plane.Spec{}
		if own, e := c.Connect(cmd.Context(), req); !plane.IsKind(e, plane.BadRequest) {
			got, err = own, e
		}
	}
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
	keyURL := ""
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
		[2]string{"generation", strconv.FormatInt(int64(got.Generation), 10)},
		[2]string{"status", string(got.Status)},
		[2]string{"URL works until", expires},
	)
}
