package sqlite

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"plane"
	"plane/internal/store"
)

const selectBackend = `SELECT id, namespace, name, tag, generation, cluster, drone, app, release, spec, policy, epoch,
	static, subdomain, actor, decision, request_id, created_at, ready_at, state, state_at, revocation, revision, volume
	FROM backend `

func readBackend(r *row) store.Backend {
	b := store.Backend{
		ID:         plane.BackendID(r.text()),
		Key:        plane.Key{Namespace: r.text(), Name: r.text(), Tag: r.text()},
		Generation: plane.Generation(r.number()),
		Cluster:    plane.ClusterName(r.text()),
		Drone:      plane.NodeName(r.text()),
		App:        r.text(),
		Release:    r.number(),
	}
	r.json(&b.Spec)
	b.Policy = plane.Policy(r.text())
	b.Epoch = r.number()
	b.Static = r.yes()
	b.Subdomain = r.text()
	b.Actor = r.text()
	b.Decision = r.text()
	b.RequestID = r.text()
	b.CreatedAt = r.time()
	b.ReadyAt = r.time()
	r.json(&b.State)
	b.StateAt = r.time()
	b.Revocation = r.number()
	b.Revision = r.number()
	b.Volume = r.text()
	return b
}

func (t *tx) backends(query string, args ...any) ([]store.Backend, error) {
	var all []store.Backend
	err := t.find(selectBackend+query, func(r *row) { all = append(all, readBackend(r)) }, args...)
	return all, err
}

func (t *tx) Backend(id plane.BackendID) (store.Backend, error) {
	var b store.Backend
	err := t.get(selectBackend+`WHERE id = ?`, func(r *row) { b = readBackend(r) }, id)
	return b, err
}

// spent is an id's place in the table of used ones.
func spent(id plane.BackendID) int64 {
	h := sha256.Sum256([]byte(id))
	return int64(binary.BigEndian.Uint64(h[:]))
}

// endedAt is at for a terminated state, else never. A reporter whose clock
// stands before 1970 doesn't make its backend live for ever.
func endedAt(s plane.State, at time.Time) int64 {
	if s.Status == plane.Terminated {
		return max(1, micros(at))
	}
	return 0
}

func (t *tx) InsertBackend(b store.Backend) error {
	if b.State.Status.Order() == 0 {
		return fmt.Errorf("insert backend %s: unknown status %q", b.ID, b.State.Status)
	}
	spec, err := encode(b.Spec)
	if err != nil {
		return fmt.Errorf("insert backend %s: %w", b.ID, err)
	}
	state, err := encode(b.State)
	if err != nil {
		return fmt.Errorf("insert backend %s: %w", b.ID, err)
	}
	now := t.Now()
	created := b.CreatedAt
	if created.IsZero() {
		created = now
	}
	// Not one INSERT … SELECT … WHERE NOT EXISTS: with the trigger SQLite would
	// put the row into a temporary table first. Ids are spent by the writer only.
	err = t.get(`SELECT 1 FROM spent_id WHERE hash = ?`, func(*row) {}, spent(b.ID))
	if err == nil {
		return store.ErrConflict
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	seq, err := t.insertSeq(`INSERT INTO backend (id, namespace, name, tag, generation, cluster, drone, app, release, spec, policy,
			epoch, static, subdomain, actor, decision, request_id, created_at, ready_at, rank, state, state_at,
			revocation, revision, ended_at, volume)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`,
		b.ID, b.Key.Namespace, b.Key.Name, b.Key.Tag, b.Generation, b.Cluster, b.Drone, b.App, b.Release, spec, b.Policy,
		b.Epoch, b.Static, b.Subdomain, b.Actor, b.Decision, b.RequestID, created, b.ReadyAt, b.State.Status.Order(), state, now,
		b.Revocation, b.Revision, endedAt(b.State, now), b.Volume)
	if err != nil {
		return err
	}
	return t.insertStep(seq, b.State.Status.Order(), now, state)
}

func (t *tx) insertStep(seq int64, rank int, at time.Time, state string) error {
	_, err := t.exec(`INSERT INTO step (backend, rank, at, state) VALUES (?, ?, ?, ?)`, seq, rank, at, state)
	return err
}

func (t *tx) RecordState(id plane.BackendID, s plane.State, at time.Time) (bool, error) {
	rank := s.Status.Order()
	if rank == 0 {
		return false, fmt.Errorf("record state of %s: unknown status %q", id, s.Status)
	}
	state, err := encode(s)
	if err != nil {
		return false, fmt.Errorf("record state of %s: %w", id, err)
	}
	var readyAt time.Time
	if s.Status == plane.Ready {
		readyAt = at
	}
	var seq int64
	err = t.returning(`UPDATE backend SET rank = ?1, state = ?2, state_at = ?3, revision = revision + 1,
			ready_at = CASE WHEN ?4 > 0 THEN ?4 ELSE ready_at END, ended_at = ?5
		WHERE id = ?6 AND rank < ?1
		RETURNING seq`, func(r *row) { seq = r.number() },
		rank, state, at, readyAt, endedAt(s, at), id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = t.insertStep(seq, rank, at, state)
	return err == nil, err
}

func (t *tx) Backends(f store.Filter) ([]store.Backend, error) {
	where := []string{"id > ?"}
	args := []any{f.After}
	and := func(cond string, v ...any) {
		where = append(where, cond)
		args = append(args, v...)
	}
	if f.Cluster != "" {
		and("cluster = ?", f.Cluster)
	}
	if f.Namespace != nil {
		and("namespace = ?", *f.Namespace)
	}
	if p := f.KeyPrefix; p != "" {
		and("name >= ? AND name < ?", p, pastPrefix(p))
	}
	if f.App != nil {
		and("app = ?", *f.App)
	}
	if f.Status != "" {
		and("rank = ?", f.Status.Order())
	}
	if f.Drone != "" {
		and("drone = ?", f.Drone)
	}
	if f.Live {
		and("ended_at = 0")
	}
	args = append(args, few(f.Limit, 1000))
	return t.backends("WHERE "+strings.Join(where, " AND ")+" ORDER BY id LIMIT ?", args...)
}

func (t *tx) KeyBackends(namespace, name string, limit int) ([]store.Backend, error) {
	return t.backends(`WHERE namespace = ? AND name = ? ORDER BY generation DESC, seq DESC LIMIT ?`, namespace, name, few(limit, 1000))
}

func (t *tx) History(id plane.BackendID) ([]store.Step, error) {
	var all []store.Step
	err := t.find(`SELECT at, state FROM step WHERE backend = (SELECT seq FROM backend WHERE id = ?) ORDER BY rank`, func(r *row) {
		s := store.Step{At: r.time()}
		r.json(&s.State)
		all = append(all, s)
	}, id)
	return all, err
}

func (t *tx) LiveOn(drone plane.NodeName) ([]store.Backend, error) {
	return t.backends(`WHERE drone = ? AND ended_at = 0 ORDER BY seq`, drone)
}

func (t *tx) CountLive(drone plane.NodeName) (int, error) {
	n := int64(0)
	err := t.find(`SELECT live FROM load WHERE drone = ?`, func(r *row) { n = r.number() }, drone)
	return int(n), err
}

func (t *tx) CountLiveIn(cluster plane.ClusterName) (int, error) {
	// In this order: drones are few, rows of load stay for drones that were removed.
	return t.count(`SELECT coalesce(sum(load.live), 0) FROM drone CROSS JOIN load ON load.drone = drone.name WHERE drone.cluster = ?`, cluster)
}

func (t *tx) CountLiveOf(app string) (int, error) {
	return t.count(`SELECT count(*) FROM backend WHERE app = ? AND release > 0 AND ended_at = 0`, app)
}

func (t *tx) count(query string, args ...any) (int, error) {
	n := 0
	err := t.get(query, func(r *row) { n = int(r.number()) }, args...)
	return n, err
}

func (t *tx) Ended(after time.Time, limit int) ([]store.Backend, error) {
	return t.backends(`WHERE ended_at > 0 AND ended_at > ? ORDER BY ended_at DESC, seq DESC LIMIT ?`, after, few(limit, 1000))
}

func (t *tx) Revoke(id plane.BackendID, user string) (int64, error) {
	var seq, number int64
	err := t.returning(`UPDATE backend SET revocation = revocation + 1, revision = revision + 1 WHERE id = ? RETURNING seq, revocation`,
		func(r *row) { seq, number = r.number(), r.number() }, id)
	if err != nil {
		return 0, err
	}
	_, err = t.exec(`INSERT INTO revoked (backend, user, number) VALUES (?, ?, ?)
		ON CONFLICT (backend, user) DO UPDATE SET number = excluded.number`, seq, user, number)
	return number, err
}

func (t *tx) Revoked(id plane.BackendID) (map[string]int64, error) {
	all := map[string]int64{}
	err := t.find(`SELECT user, number FROM revoked WHERE backend = (SELECT seq FROM backend WHERE id = ?)`,
		func(r *row) { all[r.text()] = r.number() }, id)
	return all, err
}

func (t *tx) RevokedLater(namespace, name string, g plane.Generation, user string) (bool, error) {
	n, err := t.count(`SELECT count(*) FROM backend CROSS JOIN revoked ON revoked.backend = backend.seq AND revoked.user = ?
		WHERE namespace = ? AND name = ? AND generation > ?`, user, namespace, name, g)
	return n > 0, err
}

func (t *tx) DeleteEnded(before time.Time, limit int) (int, error) {
	type ended struct {
		seq int64
		id  plane.BackendID
	}
	var all []ended
	err := t.find(`SELECT seq, id FROM backend WHERE ended_at > 0 AND ended_at < ? ORDER BY ended_at LIMIT ?`,
		func(r *row) { all = append(all, ended{r.number(), plane.BackendID(r.text())}) }, before, limit)
	if err != nil {
		return 0, err
	}
	for _, e := range all {
		for _, s := range []struct {
			query string
			arg   any
		}{
			{`INSERT INTO spent_id (hash) VALUES (?) ON CONFLICT DO NOTHING`, spent(e.id)},
			{`DELETE FROM step WHERE backend = ?`, e.seq},
			{`DELETE FROM revoked WHERE backend = ?`, e.seq},
			{`DELETE FROM action WHERE backend = ?`, e.id},
			{`DELETE FROM backend WHERE seq = ?`, e.seq},
		} {
			if _, err := t.exec(s.query, s.arg); err != nil {
				return 0, err
			}
		}
	}
	return len(all), nil
}

// pastPrefix is the first text after all that begin with prefix, which isn't
// empty. No UTF-8 text ends in byte 0xFF, so the last byte has a successor.
func pastPrefix(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string([]byte{prefix[last] + 1})
}
