package sqlite

import (
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const selectDrone = `SELECT name, cluster, pool, version, hash, address, runtimes, commands, boot_id, warden, agent,
	controller, connection, draining, first_seen, epoch_fast, epoch_balanced, epoch_sticky, renewed_at, renewal,
	store_id, store_number FROM drone `

func readDrone(r *row) store.Drone {
	d := store.Drone{
		Name:    plane.NodeName(r.text()),
		Cluster: plane.ClusterName(r.text()),
		Pool:    r.text(),
		Version: r.text(),
		Hash:    r.text(),
		Address: r.text(),
	}
	r.json(&d.Runtimes)
	d.Commands = r.yes()
	d.BootID = r.text()
	d.Warden = r.text()
	d.Agent = r.text()
	d.Controller = plane.NodeName(r.text())
	d.Connection = r.number()
	d.Draining = r.yes()
	d.FirstSeen = r.time()
	d.Epochs = plane.Epochs{r.number(), r.number(), r.number()}
	d.RenewedAt = r.time()
	d.Renewal = r.number()
	d.Store = plane.StoreEpoch{StoreID: r.text(), Number: r.number()}
	return d
}

func (t *tx) Drone(name plane.NodeName) (store.Drone, error) {
	var d store.Drone
	err := t.get(selectDrone+`WHERE name = ?`, func(r *row) { d = readDrone(r) }, name)
	return d, err
}

func (t *tx) Drones(cluster plane.ClusterName) ([]store.Drone, error) {
	var all []store.Drone
	err := t.find(selectDrone+`WHERE ?1 = '' OR cluster = ?1 ORDER BY first_seen, name`,
		func(r *row) { all = append(all, readDrone(r)) }, cluster)
	return all, err
}

func (t *tx) PutDrone(d store.Drone) error {
	runtimes, err := encode(d.Runtimes)
	if err != nil {
		return err
	}
	if d.FirstSeen.IsZero() {
		d.FirstSeen = t.Now()
	}
	_, err = t.exec(`INSERT INTO drone (name, cluster, pool, version, hash, address, runtimes, commands, boot_id, warden, agent,
			controller, connection, draining, first_seen, epoch_fast, epoch_balanced, epoch_sticky, renewed_at, renewal,
			store_id, store_number)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET cluster = excluded.cluster, pool = excluded.pool, version = excluded.version,
			hash = excluded.hash, address = excluded.address, runtimes = excluded.runtimes, commands = excluded.commands,
			boot_id = excluded.boot_id, warden = excluded.warden, agent = excluded.agent,
			controller = excluded.controller, connection = excluded.connection`,
		d.Name, d.Cluster, d.Pool, d.Version, d.Hash, d.Address, runtimes, d.Commands, d.BootID, d.Warden, d.Agent,
		d.Controller, d.Connection, d.Draining, d.FirstSeen, d.Epochs[0], d.Epochs[1], d.Epochs[2], d.RenewedAt, d.Renewal,
		d.Store.StoreID, d.Store.Number)
	return err
}

func (t *tx) DisconnectDrone(name plane.NodeName, connection int64) error {
	_, err := t.exec(`UPDATE drone SET controller = '' WHERE name = ? AND connection = ?`, name, connection)
	return err
}

func (t *tx) SetDraining(name plane.NodeName, on bool) (bool, error) {
	changed, err := t.changed(`UPDATE drone SET draining = ?1 WHERE name = ?2 AND draining <> ?1`, on, name)
	if err != nil || changed {
		return changed, err
	}
	return false, t.get(`SELECT 1 FROM drone WHERE name = ?`, func(*row) {}, name)
}

func (t *tx) DeleteDrone(name plane.NodeName) error {
	_, err := t.exec(`DELETE FROM drone WHERE name = ?`, name)
	return err
}

func (t *tx) Renew(name plane.NodeName, agent string, number int64, epochs plane.Epochs) (bool, error) {
	return t.changed(`UPDATE drone SET renewed_at = ?, renewal = ?
		WHERE name = ? AND agent = ? AND renewal < ? AND epoch_fast = ? AND epoch_balanced = ? AND epoch_sticky = ?`,
		t.Now(), number, name, agent, number, epochs[0], epochs[1], epochs[2])
}

// raiseEpoch has one statement per policy, by its place in plane.Policies.
var raiseEpoch = [...]string{
	`UPDATE drone SET epoch_fast = epoch_fast + 1 WHERE name = ?1 AND epoch_fast = ?2 AND (?3 = 0 OR renewed_at + ?3 < ?4)`,
	`UPDATE drone SET epoch_balanced = epoch_balanced + 1 WHERE name = ?1 AND epoch_balanced = ?2 AND (?3 = 0 OR renewed_at + ?3 < ?4)`,
	`UPDATE drone SET epoch_sticky = epoch_sticky + 1 WHERE name = ?1 AND epoch_sticky = ?2 AND (?3 = 0 OR renewed_at + ?3 < ?4)`,
}

func (t *tx) RaiseEpoch(name plane.NodeName, p plane.Policy, epoch int64, after time.Duration) (bool, error) {
	if !p.Valid() {
		return false, fmt.Errorf("raise epoch of %s: unknown policy %q", name, p)
	}
	if after < 0 {
		return false, errors.New("raise epoch: the time after a renewal can't be negative")
	}
	// Rounded up: a lapse may come late, never early.
	wait := (after + time.Microsecond - 1).Microseconds()
	return t.changed(raiseEpoch[p.Index()], name, epoch, wait, t.Now())
}

func (t *tx) ConfirmStore(name plane.NodeName, e plane.StoreEpoch) error {
	ok, err := t.changed(`UPDATE drone SET store_id = ?, store_number = ? WHERE name = ?`, e.StoreID, e.Number, name)
	if err == nil && !ok {
		return store.ErrNotFound
	}
	return err
}
