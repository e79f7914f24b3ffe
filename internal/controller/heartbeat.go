package controller

import (
	"context"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const heartbeatEvery = 7 * time.Second

// heartbeat shows that this controller runs, and that its proxies are there.
func (c *Controller) heartbeat(ctx context.Context) error {
	err := c.store.Update(ctx, func(tx store.Tx) error {
		err := tx.PutController(store.ControllerNode{Name: c.cfg.Name, Online: true, SeenAt: tx.Now()})
		if err != nil {
			return err
		}
		all, err := tx.Proxies("")
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Controller != c.cfg.Name {
				continue
			}
			p.SeenAt = tx.Now()
			if err := tx.PutProxy(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write heartbeat: %w", err)
	}
	return nil
}

// signOff shows that this controller is gone.
func (c *Controller) signOff(ctx context.Context) {
	err := c.store.Update(ctx, func(tx store.Tx) error {
		return tx.PutController(store.ControllerNode{Name: c.cfg.Name, SeenAt: tx.Now()})
	})
	if err != nil {
		c.log.Info("could not sign off", "error", err)
	}
}

func (c *Controller) disconnectDrone(ctx context.Context, name plane.NodeName, connection int64) error {
	return c.store.Update(ctx, func(tx store.Tx) error { return tx.DisconnectDrone(name, connection) })
}

// disconnectAll clears what an earlier process on an exclusive store left.
func (c *Controller) disconnectAll(ctx context.Context) error {
	return c.store.Update(ctx, func(tx store.Tx) error {
		controllers, err := tx.Controllers()
		if err != nil {
			return err
		}
		for _, x := range controllers {
			if x.Online {
				x.Online = false
				if err := tx.PutController(x); err != nil {
					return err
				}
			}
		}
		drones, err := tx.Drones("")
		if err != nil {
			return err
		}
		for _, d := range drones {
			if err := tx.DisconnectDrone(d.Name, d.Connection); err != nil {
				return err
			}
			c.drones.markReap(d.Name)
		}
		proxies, err := tx.Proxies("")
		if err != nil {
			return err
		}
		for _, p := range proxies {
			if err := tx.DisconnectProxy(p.Name, p.Connection); err != nil {
				return err
			}
		}
		return tx.PutController(store.ControllerNode{Name: c.cfg.Name, Online: true, SeenAt: tx.Now()})
	})
}

// recallProxies takes proxies that were there shortly before for maybe in use.
func (c *Controller) recallProxies(ctx context.Context) error {
	return c.store.View(ctx, func(tx store.Tx) error {
		all, err := tx.Proxies("")
		for _, p := range all {
			if tx.Now().Sub(p.SeenAt) < departureTime {
				c.proxies.depart(p.Name, departure{p.Cluster, time.Now()})
			}
		}
		return err
	})
}
