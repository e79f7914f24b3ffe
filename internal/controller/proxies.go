package controller

import (
	"sync"
	"time"

	"plane"
	"plane/internal/wire"
)

// departureTime is how long a proxy that was there counts as maybe in use.
const departureTime = time.Minute

// departure is a proxy that isn't connected and was, shortly before.
type departure struct {
	cluster plane.ClusterName
	at      time.Time
}

// proxySet is the proxies that are connected to this controller.
type proxySet struct {
	mu       sync.RWMutex // guards the fields below
	byName   map[plane.NodeName]*proxySession
	departed map[plane.NodeName]departure
}

// of are the connected proxies of a cluster.
func (p *proxySet) of(cluster plane.ClusterName) []*proxySession {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []*proxySession
	for _, s := range p.byName {
		if s.cluster == cluster {
			out = append(out, s)
		}
	}
	return out
}

// add makes s the proxy's session and returns the one it replaces.
func (p *proxySet) add(s *proxySession) *proxySession {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.byName[s.name]
	p.byName[s.name] = s
	delete(p.departed, s.name)
	return old
}

func (p *proxySet) remove(s *proxySession, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName[s.name] == s {
		delete(p.byName, s.name)
		p.departed[s.name] = departure{s.cluster, now}
	}
}

// forget drops a proxy that was removed for good.
func (p *proxySet) forget(name plane.NodeName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.departed, name)
}

func (p *proxySet) depart(name plane.NodeName, d departure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.departed[name] = d
}

func (p *proxySet) connected(name plane.NodeName) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.byName[name] != nil
}

// unknown names a proxy of the cluster that may be in use and can't be asked.
func (p *proxySet) unknown(cluster plane.ClusterName, now time.Time) (plane.NodeName, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, d := range p.departed {
		if now.Sub(d.at) > departureTime {
			delete(p.departed, name)
			continue
		}
		if d.cluster == cluster {
			return name, true
		}
	}
	return "", false
}

// uses sums what a backend is used for through the connected proxies.
func (p *proxySet) uses(cluster plane.ClusterName, id plane.BackendID) wire.Use {
	sum := wire.Use{Backend: id}
	for _, s := range p.of(cluster) {
		u := s.used(id)
		sum.Plain += u.Plain
		sum.Upgraded += u.Upgraded
		sum.Opened += u.Opened
	}
	return sum
}
