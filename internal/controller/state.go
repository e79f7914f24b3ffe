package controller

import (
	"context"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

// ClusterState lists the cluster's nodes that are attached to a controller.
func (c *Controller) ClusterState(ctx context.Context, cluster plane.ClusterName) (ClusterState, error) {
	out := ClusterState{Drones: []DroneView{}, Proxies: []NodeView{}}
	err := c.store.View(ctx, func(tx store.Tx) error {
		out = ClusterState{Drones: []DroneView{}, Proxies: []NodeView{}}
		controllers, err := tx.Controllers()
		if err != nil {
			return err
		}
		age := map[plane.NodeName]int64{}
		for _, x := range controllers {
			age[x.Name] = wholeSeconds(tx.Now().Sub(x.SeenAt))
		}
		drones, err := tx.Drones(cluster)
		if err != nil {
			return err
		}
		for _, d := range drones {
			if d.Controller == "" {
				continue
			}
			v, err := droneView(tx, d, age[d.Controller])
			if err != nil {
				return err
			}
			if s := c.drones.session(d.Name); s != nil {
				v.Missing, v.Host = s.lacks, s.host.Load()
			}
			out.Drones = append(out.Drones, v)
		}
		proxies, err := tx.Proxies(cluster)
		for _, p := range proxies {
			if p.Controller == "" {
				continue
			}
			out.Proxies = append(out.Proxies, NodeView{
				Name: map[string]plane.NodeName{"Proxy": p.Name}, PlaneVersion: p.Version, PlaneHash: p.Hash,
				Controller: p.Controller, ControllerHeartbeatAge: age[p.Controller],
			})
		}
		return err
	})
	if err != nil {
		return out, fmt.Errorf("read cluster state: %w", err)
	}
	return out, nil
}

func droneView(tx store.Tx, d store.Drone, controllerAge int64) (DroneView, error) {
	count, err := tx.CountLive(d.Name)
	v := DroneView{
		Draining: d.Draining, BackendCount: count, Runtimes: d.Runtimes,
		Node: NodeView{
			Name: map[string]plane.NodeName{"Drone": d.Name}, PlaneVersion: d.Version, PlaneHash: d.Hash,
			Controller: d.Controller, ControllerHeartbeatAge: controllerAge,
		},
	}
	if !d.RenewedAt.IsZero() {
		age := tx.Now().Sub(d.RenewedAt)
		v.Ready = age <= heardWithin(plane.Balanced)
		v.LastHeartbeatAge = wholeSeconds(age)
	}
	return v, err
}

func wholeSeconds(d time.Duration) int64 { return max(0, int64(d/time.Second)) }

// Health reports whether the store answers, and under plane dev whether drone
// and proxy are there.
func (c *Controller) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := c.store.View(ctx, func(tx store.Tx) error {
		_, err := tx.StoreEpoch()
		return err
	})
	if err != nil {
		c.log.Error("the store doesn't answer", "error", err)
		return plane.NewError(plane.Other, "Database health check failed")
	}
	if !c.cfg.Dev {
		return nil
	}
	ready := false
	for _, s := range c.drones.all() {
		ready = ready || s.heard(plane.Balanced) && len(c.proxies.of(s.cluster)) > 0
	}
	if !ready {
		e := plane.NewError(plane.Unavailable, "Drone and proxy are still starting.")
		e.Retry = time.Second
		return e
	}
	return nil
}
