package sqlite

import (
	"errors"
	"time"

	"plane"
	"plane/internal/store"
)

func (t *tx) Key(namespace, name string) (store.Key, error) {
	k := store.Key{Key: plane.Key{Namespace: namespace, Name: name}}
	err := t.get(`SELECT tag, backend, generation FROM claim WHERE namespace = ? AND name = ?`, func(r *row) {
		k.Key.Tag, k.Backend, k.Generation = r.text(), plane.BackendID(r.text()), plane.Generation(r.number())
	}, namespace, name)
	if err != nil {
		return store.Key{}, err
	}
	return k, nil
}

func (t *tx) InsertKey(k store.Key) error {
	return t.insert(`INSERT INTO claim (namespace, name, tag, backend, generation) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, k.Key.Namespace, k.Key.Name, k.Key.Tag, k.Backend, k.Generation)
}

func (t *tx) DeleteKey(namespace, name string, backend plane.BackendID) (bool, error) {
	return t.changed(`DELETE FROM claim WHERE namespace = ? AND name = ? AND backend = ?`, namespace, name, backend)
}

func (t *tx) Crash(namespace, name string) (store.Crash, error) {
	var c store.Crash
	err := t.get(`SELECT count, last, output, exit FROM crash WHERE namespace = ? AND name = ?`, func(r *row) {
		c.Count, c.Last, c.Output = int(r.number()), r.time(), r.text()
		r.json(&c.Exit)
	}, namespace, name)
	if errors.Is(err, store.ErrNotFound) {
		return store.Crash{}, nil
	}
	return c, err
}

func (t *tx) SetCrash(namespace, name string, c store.Crash) error {
	if c == (store.Crash{}) {
		_, err := t.exec(`DELETE FROM crash WHERE namespace = ? AND name = ?`, namespace, name)
		return err
	}
	exit, err := encode(c.Exit)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO crash (namespace, name, count, last, output, exit, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (namespace, name) DO UPDATE SET count = excluded.count, last = excluded.last,
			output = excluded.output, exit = excluded.exit, changed_at = excluded.changed_at`,
		namespace, name, c.Count, c.Last, c.Output, exit, t.Now())
	return err
}

func (t *tx) ForgetCrashes(namespace string) error {
	_, err := t.exec(`DELETE FROM crash WHERE namespace = ?`, namespace)
	return err
}

func (t *tx) DeleteCrashes(before time.Time, limit int) (int, error) {
	n, err := t.exec(`DELETE FROM crash WHERE (namespace, name) IN
		(SELECT namespace, name FROM crash WHERE changed_at < ? ORDER BY changed_at LIMIT ?)`, before, limit)
	return int(n), err
}
