package sqlite

import (
	"plane"
	"plane/internal/store"
)

const selectAction = `SELECT seq, id, drone, backend, kind, body, created_at FROM action `

func readAction(r *row) (int64, store.Action) {
	return r.number(), store.Action{
		ID:        r.text(),
		Drone:     plane.NodeName(r.text()),
		Backend:   plane.BackendID(r.text()),
		Kind:      r.text(),
		Body:      r.blob(),
		CreatedAt: r.time(),
	}
}

func (t *tx) InsertAction(a store.Action) error {
	if a.CreatedAt.IsZero() {
		a.CreatedAt = t.Now()
	}
	if a.Body == nil {
		a.Body = []byte{}
	}
	return t.insert(`INSERT INTO action (id, drone, backend, kind, body, created_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, a.ID, a.Drone, a.Backend, a.Kind, a.Body, a.CreatedAt)
}

func (t *tx) Actions(drone plane.NodeName, after int64, limit int) ([]store.Action, int64, error) {
	var all []store.Action
	err := t.find(selectAction+`WHERE drone = ? AND seq > ? ORDER BY seq LIMIT ?`, func(r *row) {
		seq, a := readAction(r)
		all, after = append(all, a), seq
	}, drone, after, few(limit, 1000))
	return all, after, err
}

func (t *tx) Pending(backend plane.BackendID) ([]store.Action, error) {
	var all []store.Action
	err := t.find(selectAction+`WHERE backend = ? ORDER BY seq`, func(r *row) {
		_, a := readAction(r)
		all = append(all, a)
	}, backend)
	return all, err
}

func (t *tx) DeleteAction(id string) (bool, error) {
	return t.changed(`DELETE FROM action WHERE id = ?`, id)
}
