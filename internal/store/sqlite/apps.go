package sqlite

import (
	"fmt"

	"plane/internal/store"
)

const selectApp = `SELECT name, release, updated_at FROM app `

func readApp(r *row) store.App {
	return store.App{Name: r.text(), Release: r.number(), UpdatedAt: r.time()}
}

func (t *tx) Apps() ([]store.App, error) {
	var all []store.App
	err := t.find(selectApp+`ORDER BY name`, func(r *row) { all = append(all, readApp(r)) })
	return all, err
}

func (t *tx) App(name string) (store.App, error) {
	var a store.App
	err := t.get(selectApp+`WHERE name = ?`, func(r *row) { a = readApp(r) }, name)
	return a, err
}

func (t *tx) PutApp(name string, release int64) error {
	if _, err := t.Release(name, release); err != nil {
		return fmt.Errorf("release %d of app %q: %w", release, name, err)
	}
	_, err := t.exec(`INSERT INTO app (name, release, updated_at) VALUES (?1, ?2, ?3)
		ON CONFLICT (name) DO UPDATE SET release = ?2, updated_at = ?3`, name, release, t.Now())
	return err
}

func (t *tx) InsertRelease(r store.Release) (int64, error) {
	template, err := encode(r.Template)
	if err != nil {
		return 0, fmt.Errorf("insert release of %q: %w", r.App, err)
	}
	var number int64
	err = t.returning(`INSERT INTO release_number (app, number) VALUES (?, 1)
		ON CONFLICT (app) DO UPDATE SET number = number + 1 RETURNING number`, func(r *row) { number = r.number() }, r.App)
	if err != nil {
		return 0, err
	}
	_, err = t.exec(`INSERT INTO release (app, number, template, digest, actor, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
		r.App, number, template, r.Digest, r.Actor, t.Now())
	return number, err
}

const selectRelease = `SELECT app, number, template, digest, actor, created_at FROM release `

func readRelease(r *row) store.Release {
	out := store.Release{App: r.text(), Number: r.number()}
	r.json(&out.Template)
	out.Digest, out.Actor, out.CreatedAt = r.text(), r.text(), r.time()
	return out
}

func (t *tx) Release(app string, number int64) (store.Release, error) {
	var out store.Release
	err := t.get(selectRelease+`WHERE app = ? AND number = ?`, func(r *row) { out = readRelease(r) }, app, number)
	return out, err
}

func (t *tx) NoteDigest(app string, number int64, digest string) (bool, error) {
	n, err := t.exec(`UPDATE release SET digest = ?3 WHERE app = ?1 AND number = ?2 AND digest = ''`, app, number, digest)
	return n > 0, err
}

func (t *tx) Releases(app string, limit int) ([]store.Release, error) {
	var all []store.Release
	err := t.find(selectRelease+`WHERE app = ? ORDER BY number DESC LIMIT ?`, func(r *row) { all = append(all, readRelease(r)) }, app, few(limit, 1000))
	return all, err
}

func (t *tx) DeleteReleases(app string, below int64, limit int) (int, error) {
	n, err := t.exec(`DELETE FROM release WHERE app = ?1 AND number IN (
			SELECT number FROM release WHERE app = ?1 AND number < ?2
				AND number NOT IN (SELECT release FROM app WHERE name = ?1)
				AND NOT EXISTS (SELECT 1 FROM backend WHERE backend.app = ?1 AND backend.release = release.number)
			ORDER BY number LIMIT ?3)`, app, below, few(limit, 1000))
	return int(n), err
}
