package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane"
	"plane/internal/api"
	"plane/internal/controller"
	"plane/internal/drone"
	"plane/internal/proxy"
	"plane/internal/run"
)

const (
	devAPI     = "127.0.0.1:8080"
	devProxy   = "127.0.0.1:9090"
	devCluster = "localhost:9090"

	devController = "co-dev"
	devProxyName  = "px-dev"

	defaultMaxBackends = 100

	portsTried = 20 // default ports move up by at most so many
)

// devFlags are the flags of `plane dev`.
type devFlags struct {
	dataDir, api, proxy, cluster string
	json                         bool

	flags *pflag.FlagSet // for --admin
}

func newDevCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev [flags] -- COMMAND [ARG…]",
		Short: "Run a program, one process per key, on this machine",
		Long: `Run COMMAND once per key, on this machine, with nothing else installed.

http://KEY.localhost:9090/ starts or reaches the backend of KEY. The program
finds its port in $PORT and must listen on 127.0.0.1. Ctrl-C ends all backends;
if plane itself is killed they live on, and the next "plane dev" here takes
them over.`,
		Example: "  plane dev -- ./my-server\n  plane dev -- sh -c 'python3 -m http.server $PORT --bind 127.0.0.1'",
		GroupID: groupRun,
		RunE: func(cmd *cobra.Command, command []string) error {
			if len(command) == 0 {
				return misusef("no command given; say what to run per key: plane dev -- COMMAND ARG…")
			}
			// Signals end backends first, see dev.run: they are not the end of this context.
			f.flags = cmd.Flags()
			return runDev(context.WithoutCancel(cmd.Context()), f, command)
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&f.dataDir, "data-dir", os.Getenv("PLANE_DATA_DIR"), "where this project's keys are kept (default: one directory per working directory, below the user's state directory)")
	cmd.Flags().StringVar(&f.api, "api", "", "address of the API (default "+devAPI+", or the next free port)")
	cmd.Flags().StringVar(&f.proxy, "proxy", "", "address of the proxy (default "+devProxy+", or the next free port)")
	cmd.Flags().StringVar(&f.cluster, "cluster", "", "name of the cluster (default "+devCluster+", whatever the port)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object per event")
	bindAdmin(cmd.Flags(), adminTwin())
	return cmd
}

func runDev(ctx context.Context, f devFlags, command []string) error {
	// From here on a signal ends the backends first, also those that are taken
	// over while this starts.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	// A terminal or pipe that is closed takes no more lines, and ends nothing.
	closed := make(chan os.Signal, 1)
	signal.Notify(closed, syscall.SIGPIPE)
	defer signal.Stop(closed)
	program, err := findProgram(command[0])
	if err != nil {
		return err
	}
	wd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	dir := cmp.Or(f.dataDir, devDataDir(wd))
	h, lock, err := lockDrone(dir)
	if err != nil {
		return err
	}
	defer lock.Release()
	apiListener, err := devListen("--api", f.api, devAPI)
	if err != nil {
		return err
	}
	defer apiListener.Close()
	proxyListener, err := devListen("--proxy", f.proxy, devProxy)
	if err != nil {
		return err
	}
	defer proxyListener.Close()

	if f.dataDir != "" {
		dir = h.Dir
	}
	if err := noteDevDataDir(wd, dir); err != nil {
		return aboutFile(err)
	}
	log, level, err := devLog(h.Log("dev"))
	if err != nil {
		return aboutFile(err)
	}
	adm, err := openAdmin(f.flags, log.With("part", "dev"), level)
	if err != nil {
		return err
	}
	defer adm.close()
	cluster, err := devClusterName(dir, f.cluster)
	if err != nil {
		return err
	}
	apiURL := "http://" + apiListener.Addr().String()
	proxyHost := "localhost:" + strconv.Itoa(proxyListener.Addr().(*net.TCPAddr).Port)

	var d dev
	c, err := openController(ctx, controllerSetup{
		dbPath: filepath.Join(dir, "plane.db"), operator: operatorSocket(h.Dir), listener: apiListener, admin: adm,
		config: controller.Config{
			Name: devController, DefaultCluster: cluster, URL: apiURL, Dev: true, SingleHost: true,
			PublicHost: map[plane.ClusterName]string{cluster: proxyHost},
			DefaultApp: new(string),
			Version:    version, Hash: buildHash(),
		},
		api: api.Options{
			Insecure: true, Hosts: []string{string(cluster)}, Unnamed: true, DefaultCluster: cluster,
			Ready:   func(context.Context) error { return d.healthy() },
			Version: version, Hash: buildHash(),
		},
	}, log.With("part", "controller"))
	if err != nil {
		return err
	}
	defer c.close()
	unnamed := plane.Template{Command: append([]string{program}, command[1:]...), Dir: wd}
	if _, err := c.Apply(ctx, controller.Actor{Kind: "operator"}, "", unnamed); err != nil {
		return err
	}
	show := newConsole(os.Stdout, f.json)
	agent, err := openDrone(ctx, h, droneSetup{
		cluster: cluster, urls: []string{apiURL}, commands: true, baseEnv: os.Environ(), baseDir: wd, singleHost: true, observer: show, admin: adm,
	}, log.With("part", "drone"))
	if err != nil {
		return err
	}
	defer agent.close()
	p, err := proxy.New(proxy.Config{
		Name: devProxyName, Cluster: cluster, Hosts: []string{proxyHost, proxyListener.Addr().String()},
		ControllerURLs: []string{apiURL}, Version: version, Hash: buildHash(), Log: log.With("part", "proxy"),
	})
	if err != nil {
		return err
	}
	adm.Ready("proxy", checkWait, proxyReady(p))
	d = dev{
		show: show, agent: agent.Agent, api: apiURL, proxy: "http://" + proxyHost, command: strings.Join(command, " "),
		proxyReady: p.Ready,
		parts: append(append(c.parts(), adm.parts()...),
			run.Part{Name: "agent", Run: agent.Run},
			run.Part{Name: "proxy", Run: func(ctx context.Context) error { return p.Run(ctx, proxyListener) }}),
	}
	return d.run(ctx, signals)
}

// dev is everything in one process, put together.
type dev struct {
	show                *console
	agent               *drone.Agent
	api, proxy, command string
	proxyReady          func() bool
	parts               []run.Part
}

// healthy gives nil once everything works, with what ran before taken over.
func (d dev) healthy() error {
	switch {
	case !d.proxyReady():
		return errors.New("the proxy isn't connected to the controller")
	case !d.agent.Ready():
		return errors.New("the agent has no lease yet")
	}
	return nil
}

// run serves until a signal, then ends the backends while everything still
// works, then leaves.
func (d dev) run(ctx context.Context, signals <-chan os.Signal) error {
	conductor := run.Part{Name: "dev", Run: func(ctx context.Context) error {
		if d.announce(ctx, signals) {
			select {
			case <-ctx.Done():
			case <-signals:
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		d.show.note("ending all backends; once more ends them at once")
		end, hurry := context.WithCancel(context.WithoutCancel(ctx))
		defer hurry()
		go func() {
			select {
			case <-signals:
				hurry()
			case <-end.Done():
			}
		}()
		if err := d.endAll(end); err != nil {
			return err
		}
		d.show.note("all ended")
		return nil
	}}
	return run.All(ctx, append(d.parts, conductor)...)
}

// announce prints the URL once it works. It reports false if a signal came
// before, or ctx is done.
func (d dev) announce(ctx context.Context, signals <-chan os.Signal) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for d.healthy() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-signals:
			return false
		case <-tick.C:
		}
	}
	_, host, _ := strings.Cut(d.proxy, "://")
	d.show.listening(d.api, d.proxy, "http://KEY."+host+"/", d.command)
	return true
}

// adoption is how long the end of everything waits for what ran before to be
// taken over, so that it is ended too.
const adoption = 10 * time.Second

func (d dev) endAll(ctx context.Context) error {
	for began := time.Now(); ; {
		err := d.agent.EndAll(ctx)
		if !errors.Is(err, drone.ErrNotRunning) || time.Since(began) > adoption {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// devListen opens an explicit address, or the first free port from the default on.
func devListen(flag, addr, otherwise string) (net.Listener, error) {
	if addr != "" {
		if err := requireLoopback(flag, addr); err != nil {
			return nil, err
		}
		return listen(flag, addr)
	}
	host, first, err := net.SplitHostPort(otherwise)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(first)
	if err != nil {
		return nil, err
	}
	for i := range portsTried {
		l, e := listen(flag, net.JoinHostPort(host, strconv.Itoa(port+i)))
		if e == nil {
			return l, nil
		}
		err = e
	}
	return nil, fmt.Errorf("ports %d to %d are all taken; choose one with %s: %w", port, port+portsTried-1, flag, err)
}

// devClusterName is given, or the one this data directory began with: keys and
// tokens stay valid when the port moves.
func devClusterName(dir, given string) (plane.ClusterName, error) {
	path := filepath.Join(dir, "cluster")
	if given != "" {
		c, err := clusterFlag(given)
		if err != nil {
			return "", err
		}
		return c, aboutFile(writeFile(path, given+"\n"))
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return devCluster, aboutFile(writeFile(path, devCluster+"\n"))
	case err != nil:
		return "", aboutFile(err)
	}
	return clusterFlag(string(b))
}

// findProgram looks the command up as a shell would, and says what to do if it
// can't be run.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%s is in the working directory, not on $PATH; write ./%s", name, name)
	case errors.Is(err, syscall.EISDIR):
		return "", fmt.Errorf("%s is a directory; give the program in it", name)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("no permission to run %s; make it executable with chmod +x", name)
	case err != nil && strings.ContainsRune(name, filepath.Separator):
		return "", fmt.Errorf("there is no program %s; build it first, or correct the path", name)
	case err != nil:
		return "", fmt.Errorf("command %q not found on $PATH; install it, or give its path", name)
	}
	return filepath.Abs(path)
}
