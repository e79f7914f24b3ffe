package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"plane"
	"plane/internal/wire"
)

// watch registers what is read from a controller when somebody asks.
func (m *Metrics) watch(c *Controller) {
	if m != nil {
		m.reg.MustRegister(nodes{c})
	}
}

// nodes tells of the nodes that are connected to a controller.
type nodes struct{ c *Controller }

var (
	dronesDesc = prometheus.NewDesc("plane_controller_drones",
		"Drones connected to this controller, by whether they take starts.", []string{"state"}, nil)
	proxiesDesc = prometheus.NewDesc("plane_controller_proxies",
		"Proxies connected to this controller.", nil, nil)
	renewalAgeDesc = prometheus.NewDesc("plane_controller_renewal_age_seconds",
		"Time since the last renewal of the connected drone that was silent longest.", nil, nil)
	queueDesc = prometheus.NewDesc("plane_controller_queue_messages",
		"Messages in the longest queue towards a node.", []string{"peer"}, nil)
	limitDesc = prometheus.NewDesc("plane_controller_backends_limit",
		"Backends that a cluster may have at once; 0 is no limit.", nil, nil)
	commandsDesc = prometheus.NewDesc("plane_controller_commands",
		"Commands that run in backends for whoever asked this controller.", nil, nil)
	memoryDesc = prometheus.NewDesc("plane_usage_memory_bytes",
		"Memory of backends: what they can't give up, and their files in the page cache.", []string{"kind"}, nil)
	pidsDesc = prometheus.NewDesc("plane_usage_processes",
		"Processes and threads of backends.", nil, nil)
	diskDesc = prometheus.NewDesc("plane_usage_disk_bytes",
		"What backends have written: to layers of their own, and to data directories.", []string{"kind"}, nil)
	hostCPUsDesc = prometheus.NewDesc("plane_host_cpus",
		"Processors of the drones' machines: busy ones and idle ones.", []string{"state"}, nil)
	hostMemoryDesc = prometheus.NewDesc("plane_host_memory_bytes",
		"Memory of the drones' machines: used and available.", []string{"state"}, nil)
	hostDiskDesc = prometheus.NewDesc("plane_host_disk_bytes",
		"File systems of the drones' data directories: used and free.", []string{"state"}, nil)
	imagesDesc = prometheus.NewDesc("plane_host_images_bytes",
		"Images that drones keep themselves.", nil, nil)
)

// Describe implements prometheus.Collector.
func (nodes) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		dronesDesc, proxiesDesc, renewalAgeDesc, queueDesc, limitDesc, commandsDesc,
		memoryDesc, pidsDesc, diskDesc, hostCPUsDesc, hostMemoryDesc, hostDiskDesc, imagesDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (n nodes) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	states := map[string]int{"ready": 0, "draining": 0, "silent": 0}
	var oldest time.Duration
	var queued int
	for _, s := range n.c.drones.all() {
		switch {
		case !s.heard(plane.Balanced):
			states["silent"]++
		case s.draining.Load():
			states["draining"]++
		default:
			states["ready"]++
		}
		oldest = max(oldest, time.Since(s.since)-time.Duration(s.renewed.Load()))
		queued = max(queued, s.conn.Queued())
	}
	for state, count := range states {
		gauge(dronesDesc, float64(count), state)
	}
	gauge(renewalAgeDesc, oldest.Seconds())
	gauge(queueDesc, float64(queued), "drone")
	count, queued := 0, 0
	for _, s := range n.c.proxies.all() {
		count++
		queued = max(queued, s.conn.Queued())
	}
	gauge(proxiesDesc, float64(count))
	gauge(queueDesc, float64(queued), "proxy")
	gauge(limitDesc, float64(n.c.cfg.MaxBackends))
	n.collectUsage(gauge)
}

// collectUsage tells what backends and machines use, summed up: no series
// belongs to one of them.
func (n nodes) collectUsage(gauge func(*prometheus.Desc, float64, ...string)) {
	var sum wire.Usage
	var host wire.Host
	var busy float64
	commands := 0
	for _, s := range n.c.drones.all() {
		s.usage.addTo(&sum)
		commands += s.execs.count()
		if h := s.host.Load(); h != nil {
			busy += float64(h.CPUs) * min(100, max(0, h.CPUPercent)) / 100
			host.CPUs += h.CPUs
			host.Memory += h.Memory
			host.MemoryUsed += h.MemoryUsed
			host.Disk += h.Disk
			host.DiskUsed += h.DiskUsed
			host.ImagesBytes += h.ImagesBytes
		}
	}
	gauge(commandsDesc, float64(commands))
	gauge(memoryDesc, float64(sum.Memory), "used")
	gauge(memoryDesc, float64(sum.Cache), "cache")
	gauge(pidsDesc, float64(sum.Pids))
	gauge(diskDesc, float64(sum.Disk), "layer")
	gauge(diskDesc, float64(sum.Data), "data")
	gauge(hostCPUsDesc, busy, "busy")
	gauge(hostCPUsDesc, float64(host.CPUs)-busy, "idle")
	gauge(hostMemoryDesc, float64(host.MemoryUsed), "used")
	gauge(hostMemoryDesc, float64(host.Memory-host.MemoryUsed), "available")
	gauge(hostDiskDesc, float64(host.DiskUsed), "used")
	gauge(hostDiskDesc, float64(host.Disk-host.DiskUsed), "free")
	gauge(imagesDesc, float64(host.ImagesBytes))
}

// Alive gives an error unless what every verb needs can be had. It never waits
// for the store, nor for a node.
func (c *Controller) Alive(context.Context) error {
	_ = c.drones.all()
	_ = c.proxies.all()
	_ = c.live.find(place{})
	return nil
}

func isCancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (p *proxySet) all() []*proxySession {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.byName))
}
