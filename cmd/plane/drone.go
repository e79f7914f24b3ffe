package main

import (
	"cmp"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"plane"
	"plane/internal/drone"
	"plane/internal/run"
)

type droneFlags struct {
	name, cluster, ip, db, dataDir, pool string
	ports                                string
	urls                                 []string
	images                               imageFlags
	gatePort                             int
	insecure, allowCommands              bool
}

func newDroneCommand() *cobra.Command {
	var f droneFlags
	cmd := &cobra.Command{
		Use:   "drone",
		Short: "Run a drone: the agent of a machine that runs backends",
		Long: `Run the agent of a machine that runs backends, with reaper and warden beside it.

SIGTERM detaches: backends run on, and the next agent takes them over.`,
		Example: "  plane drone --insecure --controller-url http://127.0.0.1:8080 --cluster localhost:9090",
		GroupID: groupRun,
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDrone(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "name, beginning with dr- (default: kept in the data directory)")
	fl.StringSliceVar(&f.urls, "controller-url", nil, "URL of the controller; several may be given")
	fl.StringVar(&f.cluster, "cluster", "", "cluster that the drone belongs to")
	fl.StringVar(&f.ip, "ip", "127.0.0.1", "address where proxies reach this machine")
	fl.StringVar(&f.db, "db", "", "")
	fl.StringVar(&f.dataDir, "data-dir", "", "where the drone keeps its files")
	fl.StringVar(&f.pool, "pool", "", "pool that the drone belongs to")
	f.images.bind(fl)
	fl.StringVar(&f.ports, "ports", drone.DefaultPorts.String(), "ports that backends are given, LOW-HIGH; two drones of one machine need ranges of their own")
	fl.IntVar(&f.gatePort, "gate-port", 0, "port of the gate, 0 = any free one")
	fl.BoolVar(&f.insecure, "insecure", false, "no certificates; controller and proxies on this machine only")
	fl.BoolVar(&f.allowCommands, "allow-commands", false, "run commands that callers name, not only those of apps")
	_ = fl.MarkHidden("db")
	settings(cmd)
	return cmd
}

func runDrone(cmd *cobra.Command, f droneFlags) error {
	log, level, err := processLog(cmd, "drone")
	if err != nil {
		return err
	}
	cluster, err := f.check(log)
	if err != nil {
		return err
	}
	ports, err := drone.ParsePorts(f.ports)
	if err != nil {
		return misusef("--ports %v", err)
	}
	h, lock, err := lockDrone(cmp.Or(f.dataDir, roleDataDir("drone")))
	if err != nil {
		return err
	}
	defer lock.Release()
	adm, err := openAdmin(cmd.Flags(), log, level)
	if err != nil {
		return err
	}
	defer adm.close()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	images, err := f.images.options()
	if err != nil {
		return err
	}
	agent, err := openDrone(ctx, h, droneSetup{
		name: f.name, cluster: cluster, pool: f.pool, urls: f.urls, commands: f.insecure || f.allowCommands, baseEnv: droneEnv(), baseDir: h.Dir, ports: ports, admin: adm, images: images,
	}, log)
	if err != nil {
		return err
	}
	defer agent.close()
	log.Info("drone runs", "cluster", cluster, "data", h.Dir)
	return run.All(ctx, append(adm.parts(), agent.parts()...)...)
}

func (f droneFlags) check(log *slog.Logger) (plane.ClusterName, error) {
	if len(f.urls) == 0 {
		return "", misusef("--controller-url is missing; give the URL of the controller")
	}
	if f.db != "" {
		log.Warn("flag has no meaning any more", "flag", "--db", "instead", "--data-dir")
	}
	if !f.insecure {
		return "", misusef("a drone without certificates needs --insecure: controller and proxies on this machine only")
	}
	if err := requireLoopback("--ip", f.ip+":0"); err != nil {
		return "", err
	}
	return clusterFlag(f.cluster)
}

// droneEnv is what programs on a drone start from: nothing of the operator's
// secrets, only what a login would have.
func droneEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
