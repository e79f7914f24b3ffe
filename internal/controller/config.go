package controller

import (
	"log/slog"
	"time"

	"plane"
	"plane/internal/store"
)

// Config is what a Controller is made of. Store and Name are required.
type Config struct {
	Name           plane.NodeName
	Store          store.Store
	DefaultCluster plane.ClusterName            // for connects that name none; "" = there is none
	URL            string                       // base of status_url, without user name
	PublicHost     map[plane.ClusterName]string // host[:port] shown in URLs instead of the cluster's name
	Dev            bool                         // plane dev: the default app on KEY.CLUSTER, tokens on any host
	DefaultApp     *string                      // used by connects and key URLs that name none; may be ""; nil = none
	Reload         bool                         // plane dev --watch: pages of key URLs load themselves again when their app changes
	OnlyApplied    bool                         // plane dev: apps that nobody applied to this process aren't served
	DefaultMaxIdle *int32                       // seconds, for apps that say nothing of idleness; nil = none
	MaxBackends    int                          // live ones that a cluster may have; 0 = no limit
	SingleHost     bool                         // store and only drone share a kernel: suspend doesn't count
	Version        string
	Hash           string
	Metrics        *Metrics             // nil = nothing is counted
	Log            *slog.Logger         // nil = slog.Default()
	CleanupMinAge  time.Duration        // ended backends and events are kept this long; 0 = 7 days
	BestOf         int                  // drones compared by load for each start; 0 = 2
	Clock          func() plane.Instant // the lease clock that database time is compared with; nil = this process's monotonic clock
}

const (
	defaultCleanupMinAge = 7 * 24 * time.Hour
	defaultBestOf        = 2
)

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.CleanupMinAge <= 0 {
		c.CleanupMinAge = defaultCleanupMinAge
	}
	if c.BestOf <= 0 {
		c.BestOf = defaultBestOf
	}
	if c.Clock == nil {
		start := time.Now()
		c.Clock = func() plane.Instant { return plane.Instant(time.Since(start)) }
	}
	return c
}
