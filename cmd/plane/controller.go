package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/internal/api"
	"plane/internal/controller"
	"plane/internal/drone/home"
	"plane/internal/run"
)

type controllerFlags struct {
	db, store, host, url, cluster, forwardAuth, dataDir, name string
	port, bestOf, cleanupDays                                 int
	keepEnded                                                 time.Duration
	insecure                                                  bool
	origins                                                   []string
}

// How long ended backends and events are kept.
const (
	defaultKeepEnded = 7 * 24 * time.Hour
	leastKeepEnded   = time.Second
	keepEndedUsage   = "ended backends and events are kept this long"
)

func newControllerCommand() *cobra.Command {
	var f controllerFlags
	cmd := &cobra.Command{
		Use:     "controller",
		Short:   "Run a controller: the API server",
		Example: "  plane controller --insecure --default-cluster localhost:9090",
		GroupID: groupRun,
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runController(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.db, "db", "", "store: sqlite:PATH (default: plane.db in the data directory)")
	fl.StringVar(&f.store, "store", "", "the same as --db")
	fl.StringVar(&f.host, "host", "127.0.0.1", "address to listen on")
	fl.IntVar(&f.port, "port", 8080, "port to listen on, 0 = any free one")
	fl.StringVar(&f.url, "controller-url", "", "base of status URLs (default from --host and --port)")
	fl.StringVar(&f.cluster, "default-cluster", "", "cluster of connects that name none")
	fl.DurationVar(&f.keepEnded, "keep-ended", defaultKeepEnded, keepEndedUsage)
	fl.IntVar(&f.cleanupDays, "cleanup-min-age-days", 0, "the same as --keep-ended, in days")
	fl.StringVar(&f.forwardAuth, "forward-auth", "", "URL that decides about every request to /ctrl")
	fl.IntVar(&f.bestOf, "best-of", 2, "drones compared by load for each start")
	fl.StringVar(&f.dataDir, "data-dir", "", "where the controller keeps its files")
	fl.StringVar(&f.name, "name", "", "name, beginning with co- (default: kept in the data directory)")
	fl.BoolVar(&f.insecure, "insecure", false, "neither certificates nor API keys; loopback only")
	fl.StringSliceVar(&f.origins, "origins", nil, "origins of web pages that may call /ctrl")
	settings(cmd)
	return cmd
}

func runController(cmd *cobra.Command, f controllerFlags) error {
	log, level, err := processLog(cmd, "controller")
	if err != nil {
		return err
	}
	h, err := home.New(cmp.Or(f.dataDir, roleDataDir("controller")))
	if err != nil {
		return aboutFile(err)
	}
	dir := h.Dir
	dbPath, err := sqlitePath(f.db, f.store, dir)
	if err != nil {
		return err
	}
	name, err := keptName(dir, "controller-name", f.name, plane.PrefixController)
	if err != nil {
		return err
	}
	var cluster plane.ClusterName
	if f.cluster != "" {
		if cluster, err = clusterFlag(f.cluster); err != nil {
			return fmt.Errorf("--default-cluster: %w", err)
		}
	}
	addr := net.JoinHostPort(f.host, strconv.Itoa(f.port))
	if f.insecure {
		if err := requireLoopback("--host", addr); err != nil {
			return err
		}
	}
	l, err := listen("--host and --port", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	adm, err := openAdmin(cmd.Flags(), log, level)
	if err != nil {
		return err
	}
	defer adm.close()
	url := strings.TrimSuffix(f.url, "/")
	if url == "" {
		url = "http://" + l.Addr().String()
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c, err := openController(ctx, controllerSetup{
		dbPath: dbPath, operator: operatorSocket(h.Dir), listener: l, admin: adm,
		config: controller.Config{
			Name: name, DefaultCluster: cluster, URL: url, Version: version, Hash: buildHash(), BestOf: f.bestOf,
			CleanupMinAge: f.keepEnded,
		},
		api: api.Options{
			Insecure: f.insecure, ForwardAuth: f.forwardAuth, Origins: f.origins,
			Version: version, Hash: buildHash(), DefaultCluster: cluster,
		},
	}, log)
	if err != nil {
		return err
	}
	defer c.close()
	log.Info("controller serves", "address", l.Addr().String(), "name", name, "insecure", f.insecure)
	return run.All(ctx, append(c.parts(), adm.parts()...)...)
}

// sqlitePath is the file that --db or --store names.
func sqlitePath(db, store, dir string) (string, error) {
	if db != "" && store != "" && db != store {
		return "", misusef("--db and --store name different stores; give one of them")
	}
	if db == "" {
		db = store
	}
	switch {
	case db == "":
		return filepath.Join(dir, "plane.db"), nil
	case strings.HasPrefix(db, "sqlite:"):
		return filepath.Abs(strings.TrimPrefix(strings.TrimPrefix(db, "sqlite:"), "//"))
	case strings.HasPrefix(db, "postgres:"), strings.HasPrefix(db, "postgresql:"):
		return "", errors.New("--db: this release keeps its store in SQLite only; give sqlite:PATH")
	}
	return "", misusef("--db %q: give sqlite:PATH", db)
}
