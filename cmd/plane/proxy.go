package main

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"plane"
	"plane/internal/drone/gate"
	"plane/internal/proxy"
	"plane/internal/run"
)

type proxyFlags struct {
	name, cluster, dataDir, rootRedirect string
	urls                                 []string
	httpPort                             int
	insecure                             bool
}

func newProxyCommand() *cobra.Command {
	var f proxyFlags
	cmd := &cobra.Command{
		Use:     "proxy",
		Short:   "Run a proxy: where end users' traffic comes in",
		Example: "  plane proxy --insecure --controller-url http://127.0.0.1:8080 --cluster localhost:9090",
		GroupID: groupRun,
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runProxy(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "name, beginning with px- (default: kept in the data directory)")
	fl.StringSliceVar(&f.urls, "controller-url", nil, "URL of the controller; several may be given")
	fl.StringVar(&f.cluster, "cluster", "", "cluster that the proxy serves: the host, or host:port, that end users see")
	fl.IntVar(&f.httpPort, "http-port", 9090, "port to listen on")
	fl.StringVar(&f.rootRedirect, "root-redirect-url", "", "where / of the cluster's host leads")
	fl.StringVar(&f.dataDir, "data-dir", "", "where the proxy keeps its name")
	fl.BoolVar(&f.insecure, "insecure", false, "no certificates; loopback only")
	settings(cmd)
	return cmd
}

func runProxy(cmd *cobra.Command, f proxyFlags) error {
	log, level, err := processLog(cmd, "proxy")
	if err != nil {
		return err
	}
	if len(f.urls) == 0 {
		return misusef("--controller-url is missing; give the URL of the controller")
	}
	if !f.insecure {
		return misusef("a proxy without certificates needs --insecure: it then listens on 127.0.0.1 only")
	}
	cluster, err := clusterFlag(f.cluster)
	if err != nil {
		return err
	}
	name := plane.NodeName(f.name)
	if f.name == "" {
		if name, err = proxyName(f.dataDir); err != nil {
			return err
		}
	}
	l, err := listen("--http-port", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.httpPort)))
	if err != nil {
		return err
	}
	defer l.Close()
	adm, err := openAdmin(cmd.Flags(), log, level)
	if err != nil {
		return err
	}
	defer adm.close()
	p, err := proxy.New(proxy.Config{
		Dial:    gate.DialAddress,
		Metrics: proxy.NewMetrics(adm.Registry()),
		Name:    name, Cluster: cluster, Hosts: []string{l.Addr().String()}, ControllerURLs: f.urls,
		RootRedirect: f.rootRedirect, Version: version, Hash: buildHash(), Log: log,
	})
	if err != nil {
		return err
	}
	adm.Live("proxy", checkWait, p.Alive)
	adm.Ready("proxy", checkWait, proxyReady(p))
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log.Info("proxy serves", "address", l.Addr().String(), "cluster", cluster, "name", name)
	return run.All(ctx, append(adm.parts(), run.Part{Name: "proxy", Run: func(ctx context.Context) error { return p.Run(ctx, l) }})...)
}

// proxyName is the one kept in dir, or a new one: without a directory a proxy
// keeps nothing.
func proxyName(dir string) (plane.NodeName, error) {
	if dir == "" {
		return plane.NodeName(plane.RandomName(rand.Reader, plane.PrefixProxy)), nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", aboutFile(err)
	}
	return keptName(dir, "proxy-name", "", plane.PrefixProxy)
}
