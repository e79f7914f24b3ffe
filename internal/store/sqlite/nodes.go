package sqlite

import (
	"time"

	"plane"
	"plane/internal/store"
)

func (t *tx) Proxies(cluster plane.ClusterName) ([]store.Proxy, error) {
	var all []store.Proxy
	err := t.find(`SELECT name, cluster, version, hash, instance, controller, connection, seen_at FROM proxy
		WHERE ?1 = '' OR cluster = ?1 ORDER BY name`, func(r *row) {
		all = append(all, store.Proxy{
			Name:       plane.NodeName(r.text()),
			Cluster:    plane.ClusterName(r.text()),
			Version:    r.text(),
			Hash:       r.text(),
			Instance:   r.text(),
			Controller: plane.NodeName(r.text()),
			Connection: r.number(),
			SeenAt:     r.time(),
		})
	}, cluster)
	return all, err
}

func (t *tx) PutProxy(p store.Proxy) error {
	_, err := t.exec(`INSERT INTO proxy (name, cluster, version, hash, instance, controller, connection, seen_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET cluster = excluded.cluster, version = excluded.version, hash = excluded.hash,
			instance = excluded.instance, controller = excluded.controller, connection = excluded.connection,
			seen_at = excluded.seen_at`,
		p.Name, p.Cluster, p.Version, p.Hash, p.Instance, p.Controller, p.Connection, p.SeenAt)
	return err
}

func (t *tx) DisconnectProxy(name plane.NodeName, connection int64) error {
	_, err := t.exec(`UPDATE proxy SET controller = '' WHERE name = ? AND connection = ?`, name, connection)
	return err
}

func (t *tx) DeleteProxies(before time.Time, limit int) (int, error) {
	n, err := t.exec(`DELETE FROM proxy WHERE name IN
		(SELECT name FROM proxy WHERE seen_at < ? ORDER BY seen_at LIMIT ?)`, before, limit)
	return int(n), err
}

func (t *tx) Controllers() ([]store.ControllerNode, error) {
	var all []store.ControllerNode
	err := t.find(`SELECT name, online, seen_at FROM controller ORDER BY name`, func(r *row) {
		all = append(all, store.ControllerNode{Name: plane.NodeName(r.text()), Online: r.yes(), SeenAt: r.time()})
	})
	return all, err
}

func (t *tx) PutController(c store.ControllerNode) error {
	_, err := t.exec(`INSERT INTO controller (name, online, seen_at) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET online = excluded.online, seen_at = excluded.seen_at`, c.Name, c.Online, c.SeenAt)
	return err
}

func (t *tx) DeleteControllers(before time.Time, limit int) (int, error) {
	n, err := t.exec(`DELETE FROM controller WHERE name IN
		(SELECT name FROM controller WHERE seen_at < ? ORDER BY seen_at LIMIT ?)`, before, limit)
	return int(n), err
}
