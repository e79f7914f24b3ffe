package admin

import (
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin is one process's metrics, checks and log level. A nil Admin takes
// everything and keeps nothing, for processes that weren't given a listener.
type Admin struct {
	registry *prometheus.Registry
	level    *slog.LevelVar
	log      *slog.Logger

	live, ready checks
}

// Options of New.
type Options struct {
	Level         *slog.LevelVar // what PUT /log-level sets
	Log           *slog.Logger   // nil = slog.Default()
	Version, Hash string         // of this build, told by plane_build_info
}

// New makes an Admin with a registry of its own, so that two in one process
// don't meet.
func New(o Options) *Admin {
	a := &Admin{registry: prometheus.NewRegistry(), level: o.Level, log: o.Log}
	if a.level == nil {
		a.level = new(slog.LevelVar)
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "plane_build_info",
		Help: "Always 1; its labels tell which build runs.",
	}, []string{"version", "commit", "go_version"})
	build.WithLabelValues(o.Version, o.Hash, runtime.Version()).Set(1)
	a.registry.MustRegister(
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return a
}

// Registry is where parts register what they count. It is a nil interface if
// a is nil: the constructors of the parts' metrics then count nothing.
func (a *Admin) Registry() prometheus.Registerer {
	if a == nil {
		return nil
	}
	return a.registry
}

// Live adds a check to /livez. It must fail only if nothing but a restart of
// this process helps: that another process is away is no reason.
func (a *Admin) Live(name string, within time.Duration, c Check) {
	if a != nil {
		a.live.add(name, within, c)
	}
}

// Ready adds a check to /readyz: whether this part can do its work now.
func (a *Admin) Ready(name string, within time.Duration, c Check) {
	if a != nil {
		a.ready.add(name, within, c)
	}
}

// scrapes is how many may be under way at once; a scraper that is slow to read
// must not hold ever more of them.
const scrapes = 4

// Handler serves it all, to programs of this machine only.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: scrapes,
	}))
	mux.Handle("GET /livez", &a.live)
	mux.Handle("GET /readyz", &a.ready)
	mux.HandleFunc("GET /log-level", a.getLevel)
	mux.HandleFunc("PUT /log-level", a.putLevel)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", list)
	return guard(mux)
}

// pages are those that / lists, each with what it is for.
var pages = [][2]string{
	{"/metrics", "what is counted, in Prometheus' format"},
	{"/livez", "200 unless this process is stuck"},
	{"/readyz", "200 if this process can do its work, with the reason if it can't"},
	{"/log-level", "debug, info, warn or error; PUT changes it"},
	{"/debug/pprof/", "profiles of the running program"},
}

func list(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		for _, p := range pages {
			_, _ = fmt.Fprintf(w, "%-14s %s\n", p[0], p[1])
		}
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprint(w, "<!doctype html><html lang=en><meta charset=utf-8><title>Plane: admin</title><h1>Admin</h1><ul>\n")
	for _, p := range pages {
		_, _ = fmt.Fprintf(w, "<li><a href=%q>%s</a>: %s</li>\n", p[0], p[0], html.EscapeString(p[1]))
	}
	_, _ = fmt.Fprint(w, "</ul></html>\n")
}
