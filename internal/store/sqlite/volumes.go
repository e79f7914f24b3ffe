package sqlite

import (
	"plane"
	"plane/internal/store"
)

const selectVolume = `SELECT id, namespace, name, app, drone, generation, made, created_at, attached_at FROM volume `

func readVolume(r *row) store.Volume {
	return store.Volume{
		ID: r.text(), Namespace: r.text(), Name: r.text(), App: r.text(), Drone: plane.NodeName(r.text()),
		Generation: plane.Generation(r.number()), Made: r.yes(), CreatedAt: r.time(), AttachedAt: r.time(),
	}
}

func (t *tx) Volume(namespace, name string) (store.Volume, error) {
	var v store.Volume
	err := t.get(selectVolume+`WHERE namespace = ? AND name = ?`, func(r *row) { v = readVolume(r) }, namespace, name)
	return v, err
}

func (t *tx) Volumes(namespace *string, prefix, after string, limit int) ([]store.Volume, error) {
	where, args := `WHERE id > ?`, []any{after}
	if namespace != nil {
		where, args = where+` AND namespace = ?`, append(args, *namespace)
	}
	if prefix != "" {
		where, args = where+` AND name >= ? AND name < ?`, append(args, prefix, pastPrefix(prefix))
	}
	var all []store.Volume
	err := t.find(selectVolume+where+` ORDER BY id LIMIT ?`, func(r *row) { all = append(all, readVolume(r)) }, append(args, few(limit, 1000))...)
	return all, err
}

func (t *tx) InsertVolume(v store.Volume) error {
	now := t.Now()
	return t.insert(`INSERT INTO volume (id, namespace, name, app, drone, generation, made, created_at, attached_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		v.ID, v.Namespace, v.Name, v.App, v.Drone, v.Generation, v.Made, now, now)
}

func (t *tx) AttachVolume(id string, g plane.Generation) (bool, error) {
	return t.changed(`UPDATE volume SET generation = ?1, attached_at = ?2 WHERE id = ?3 AND generation < ?1`, g, t.Now(), id)
}

func (t *tx) MakeVolume(id string) error {
	_, err := t.exec(`UPDATE volume SET made = 1 WHERE id = ? AND made = 0`, id)
	return err
}

func (t *tx) DeleteVolume(id string) (bool, error) {
	return t.changed(`DELETE FROM volume WHERE id = ?`, id)
}
