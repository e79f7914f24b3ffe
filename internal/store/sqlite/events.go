package sqlite

import (
	"time"

	"plane"
	"plane/internal/store"
)

const selectEvent = `SELECT seq, at, kind, actor, namespace, name, tag, backend, generation, node, request_id, text FROM event `

func (t *tx) events(query string, args ...any) ([]store.Event, error) {
	var all []store.Event
	err := t.find(selectEvent+query, func(r *row) {
		all = append(all, store.Event{
			Seq:        r.number(),
			At:         r.time(),
			Kind:       r.text(),
			Actor:      r.text(),
			Key:        plane.Key{Namespace: r.text(), Name: r.text(), Tag: r.text()},
			Backend:    plane.BackendID(r.text()),
			Generation: plane.Generation(r.number()),
			Node:       plane.NodeName(r.text()),
			RequestID:  r.text(),
			Text:       r.text(),
		})
	}, args...)
	return all, err
}

func (t *tx) InsertEvent(e store.Event) error {
	t.kinds = append(t.kinds, e.Kind)
	_, err := t.exec(`INSERT INTO event (at, kind, actor, namespace, name, tag, backend, generation, node, request_id, text)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.Now(), e.Kind, e.Actor, e.Key.Namespace, e.Key.Name, e.Key.Tag, e.Backend, e.Generation, e.Node, e.RequestID, e.Text)
	return err
}

func (t *tx) Events(after int64, limit int) ([]store.Event, error) {
	return t.events(`WHERE seq > ? ORDER BY seq LIMIT ?`, after, few(limit, 1000))
}

func (t *tx) KeyEvents(namespace, name string, limit int) ([]store.Event, error) {
	return t.events(`WHERE namespace = ? AND name = ? ORDER BY seq DESC LIMIT ?`, namespace, name, few(limit, 1000))
}

// LastEvent is the highest number ever given, whether its event is still kept or not.
func (t *tx) LastEvent() (int64, error) {
	n := int64(0)
	err := t.find(`SELECT seq FROM sqlite_sequence WHERE name = 'event'`, func(r *row) { n = r.number() })
	return n, err
}

func (t *tx) DeleteEvents(before time.Time, limit int) (int, error) {
	n, err := t.exec(`DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE at < ? ORDER BY at LIMIT ?)`, before, limit)
	return int(n), err
}
