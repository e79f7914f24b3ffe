package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

const (
	actionDiscard = "discard"

	dataRetry = 5 * time.Second // for a drone that may come back
)

// DataFilter chooses kept data; zero fields choose all.
type DataFilter struct {
	Namespace *string
	Prefix    string // of the key's name
	Cursor    string // DataPage.Next
	Limit     int    // 0 = 1000
}

// Data lists the kept data of keys, at most f.Limit of them. A caller whose
// grants name namespaces sees those alone.
func (c *Controller) Data(ctx context.Context, a Actor, f DataFilter) (DataPage, error) {
	out := DataPage{Data: []DataView{}}
	switch {
	case f.Limit < 0 || f.Limit > pageLimit:
		return out, plane.Invalid("limit", fmt.Sprintf("limit is %d; it must be from 1 to %d.", f.Limit, pageLimit))
	case !a.readsSomething():
		return out, a.May(VerbRead, Everywhere)
	}
	if f.Limit == 0 {
		f.Limit = pageLimit
	}
	if f.Namespace != nil {
		if err := a.May(VerbRead, *f.Namespace); err != nil {
			return out, err
		}
	}
	for {
		var page []DataView
		last, more := "", false
		err := c.store.View(ctx, func(tx store.Tx) error {
			page = nil
			rows, err := tx.Volumes(f.Namespace, f.Prefix, f.Cursor, f.Limit+1)
			if err != nil {
				return err
			}
			more = len(rows) > f.Limit
			for _, v := range rows[:min(len(rows), f.Limit)] {
				last = v.ID
				if !a.allows(VerbRead, v.Namespace) {
					continue
				}
				view, err := c.dataView(tx, v)
				if err != nil {
					return err
				}
				page = append(page, view)
			}
			return nil
		})
		if err != nil {
			return out, fmt.Errorf("list data: %w", err)
		}
		for _, v := range page {
			if len(out.Data) == f.Limit {
				out.Next = &out.Data[f.Limit-1].Volume
				return out, nil
			}
			out.Data = append(out.Data, v)
		}
		if !more {
			return out, nil
		}
		if len(out.Data) == f.Limit {
			out.Next = &last
			return out, nil
		}
		f.Cursor = last
	}
}

func (c *Controller) dataView(tx store.Tx, v store.Volume) (DataView, error) {
	out := DataView{
		Volume: v.ID, Key: plane.Key{Namespace: v.Namespace, Name: v.Name}, App: v.App, Drone: v.Drone,
		Reachable: c.drones.heardFrom(v.Drone, plane.Balanced), Generation: v.Generation,
		CreatedAt: v.CreatedAt.UnixMilli(), AttachedAt: v.AttachedAt.UnixMilli(),
	}
	user, err := userOf(tx, v)
	if err != nil || user == nil {
		return out, err
	}
	out.InUse = true
	if s := c.drones.session(v.Drone); s != nil {
		if n, known := s.usage.data(user.ID); known {
			out.Bytes = &n
		}
	}
	return out, nil
}

// userOf is the live backend that uses a volume, or nil.
func userOf(tx store.Tx, v store.Volume) (*store.Backend, error) {
	row, err := tx.Key(v.Namespace, v.Name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := tx.Backend(row.Backend)
	if err != nil || b.Volume != v.ID || b.State.Status == plane.Terminated {
		return nil, err
	}
	return &b, nil
}

// Abandon gives the kept data of a key up: its next backend begins with none,
// on whatever drone. The drone puts the directory aside when it hears of it.
func (c *Controller) Abandon(ctx context.Context, a Actor, namespace, name string) (DataView, error) {
	if err := a.May(VerbData, namespace); err != nil {
		return DataView{}, err
	}
	key := plane.Key{Namespace: namespace, Name: name}
	m := wire.Discard{Action: newName(plane.PrefixAction)}
	var out DataView
	err := c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		v, err := tx.Volume(namespace, name)
		if err != nil {
			return err
		}
		if out, err = c.dataView(tx, v); err != nil {
			return err
		}
		if out.InUse {
			e := plane.NewError(plane.KeyHeld, fmt.Sprintf("The data of key %s is in use by its live backend on %s; stop it first (plane stop).", key, v.Drone))
			e.Status = 409
			return e
		}
		if _, err := tx.DeleteVolume(v.ID); err != nil {
			return err
		}
		m.Volume = v.ID
		if err := tellDiscard(tx, v.Drone, m); err != nil {
			return err
		}
		return tx.InsertEvent(store.Event{
			Kind: eventAbandon, Actor: a.String(), Key: key, Node: v.Drone, RequestID: a.RequestID, Generation: v.Generation,
			Text: fmt.Sprintf("Its data on %s (%s) was given up; the next backend begins with none.", v.Drone, v.ID),
		})
	})
	if errors.Is(err, store.ErrNotFound) {
		return DataView{}, plane.NewError(plane.NotFound, fmt.Sprintf("Key %s has no kept data.", key))
	}
	if err != nil {
		return DataView{}, fmt.Errorf("abandon data of %s: %w", key, err)
	}
	if s := c.drones.session(out.Drone); s != nil {
		s.courier.send(m.Action, m)
	}
	c.hub.notify(topicEvents)
	return out, nil
}

// tellDiscard queues the message, if the drone is one that may still come.
func tellDiscard(tx store.Tx, drone plane.NodeName, m wire.Discard) error {
	if _, err := tx.Drone(drone); errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode discard: %w", err)
	}
	return tx.InsertAction(store.Action{ID: m.Action, Drone: drone, Kind: actionDiscard, Body: body})
}
