package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane"
)

const (
	devAPI     = "127.0.0.1:8080"
	devProxy   = "127.0.0.1:9090"
	devCluster = "localhost:9090"

	devController = "co-dev"
	devProxyName  = "px-dev"

	defaultIdle        = 5 * time.Minute
	defaultMaxBackends = 100

	portsTried = 20 // default ports move up by at most so many
)

// devFlags are the flags of `plane dev`.
type devFlags struct {
	dataDir, api, proxy, cluster string
	file                         string
	watch                        []string
	idle                         time.Duration
	maxBackends                  int
	keepEnded                    time.Duration
	quiet, json                  bool
	egressRange                  string
	programFlags

	flags *pflag.FlagSet // for --admin
}

func newDevCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev [flags] [-- COMMAND [ARG…]]",
		Short: "Run a program, one process per key, on this machine",
		Long: `Run COMMAND once per key, on this machine, with nothing else installed. Without
COMMAND the apps of plane.yaml run, and without that file a shared whiteboard.

http://KEY.localhost:9090/ starts or reaches the backend of KEY. The program
finds its port in $PORT and must listen on 127.0.0.1; with --image each KEY has a
container, where it listens on port 8080 of whatever address. Ctrl-C ends all
backends; if plane itself is killed they live on, and the next "plane dev" here
takes them over.`,
		Example: "  plane dev -- ./my-server\n  plane dev --image my-server\n  plane dev -- sh -c 'python3 -m http.server $PORT --bind 127.0.0.1'\n  plane dev --watch .",
		GroupID: groupRun,
		RunE: func(cmd *cobra.Command, command []string) error {
			if err := f.check(command); err != nil {
				return err
			}
			f.flags = cmd.Flags()
			return runDev(cmd.Context(), f, command)
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.StringVarP(&f.file, "file", "f", "", "file with the apps (default: plane.yaml in this directory, if there is one)")
	fl.StringArrayVar(&f.watch, "watch", nil, "when a file below `DIR` changes, end the backends of its app and let open pages load again; may be given several times")
	fl.DurationVar(&f.idle, "idle", defaultIdle, "end backends that nobody has used for so long, unless their app says otherwise; 0 = never")
	fl.DurationVar(&f.keepEnded, "keep-ended", defaultKeepEnded, keepEndedUsage)
	fl.IntVar(&f.maxBackends, "max-backends", defaultMaxBackends, "how many backends may run at once; 0 = any number")
	f.programFlags.bind(fl)
	bindEgressRange(fl, &f.egressRange)
	fl.BoolVar(&f.quiet, "quiet", false, "print what happens to backends, but not what they print")
	fl.StringVar(&f.dataDir, "data-dir", os.Getenv("PLANE_DATA_DIR"), "where this project's keys are kept (default: one directory per working directory, below the user's state directory)")
	fl.StringVar(&f.api, "api", "", "address of the API (default "+devAPI+", or the next free port)")
	fl.StringVar(&f.proxy, "proxy", "", "address of the proxy (default "+devProxy+", or the next free port)")
	fl.StringVar(&f.cluster, "cluster", "", "name of the cluster (default "+devCluster+", whatever the port)")
	fl.BoolVar(&f.json, "json", false, "print one JSON object per event")
	bindAdmin(fl, adminTwin())
	completeProgram(cmd)
	return cmd
}

func (f devFlags) check(command []string) error {
	switch {
	case len(command) > 0 && f.file != "":
		return misusef("--file %s and a command: give one of them", f.file)
	case f.image != "" && f.file != "":
		return misusef("--file %s and --image %s: give one of them", f.file, f.image)
	case !slices.Contains([]string{"", plane.RuntimeProcess, plane.RuntimeDocker, plane.RuntimeOCI}, f.runtime):
		return misusef("--runtime must be process, docker or oci")
	case f.image == "" && len(command) == 0 && f.named():
		return misusef("flags that say how a program is run need one: add --image IMAGE or -- COMMAND, or write them in plane.yaml")
	case f.idle < 0 || f.idle > math.MaxInt32*time.Second:
		return misusef("--idle %s must be 0 or a time like 5m", f.idle)
	case f.keepEnded < leastKeepEnded:
		return misusef("--keep-ended %v must be at least %v", f.keepEnded, leastKeepEnded)
	case f.maxBackends < 0:
		return misusef("--max-backends %d must be 0 or more", f.maxBackends)
	}
	return nil
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
