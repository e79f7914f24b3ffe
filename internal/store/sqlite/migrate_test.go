package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane"
	"plane/internal/store"
)

// atSchema makes a database as the program of that schema left it: the schema's
// own text, and rows that insert writes.
func atSchema(t *testing.T, path string, version int, insert string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(WAL)"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	run := func(text string) {
		t.Helper()
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	run(`CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`)
	run(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)`)
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files[:version] {
		text, err := migrations.ReadFile("migrations/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		up, _, _ := strings.Cut(string(text), "-- +goose Down")
		run(up)
		run(fmt.Sprintf(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, 1)`, i+1))
	}
	run(insert)
}

func TestADatabaseOfTheFirstSchemaGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plane.db")
	atSchema(t, path, 1, `
		INSERT INTO meta (name, value) VALUES ('a', 'kept');
		INSERT INTO store_epoch (only_one, store_id, number, counter) VALUES (1, 'the-id', 1, 41);
		INSERT INTO claim (namespace, name, tag, backend, generation) VALUES ('', 'doc', '', 'b-1', 4294967337);
		INSERT INTO backend (id, namespace, name, tag, generation, cluster, drone, app, release, spec, policy, epoch, static, subdomain,
			actor, decision, request_id, created_at, ready_at, rank, state, state_at, revocation, revision, ended_at)
		VALUES ('b-1', '', 'doc', '', 4294967337, 'localhost:9090', 'dr-1', '', 0, '{"executable":{"command":["./x"]}}', 'balanced', 1, 0, '',
			'operator', 'only one', 'r-1', 1000000, 2000000, 50, '{"status":"ready","address":"127.0.0.1:1"}', 2000000, 0, 5, 0);
		INSERT INTO step (backend, rank, at, state) VALUES (1, 50, 2000000, '{"status":"ready"}');
		INSERT INTO action (id, drone, backend, kind, body, created_at) VALUES ('ak-1', 'dr-1', 'b-1', 'terminate', '{}', 1);
		INSERT INTO event (at, kind, actor, namespace, name, tag, backend, generation, node, request_id, text)
		VALUES (1, 'ready', 'node dr-1', '', 'doc', '', 'b-1', 4294967337, 'dr-1', '', 'Ready.');`)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(context.Background(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	err = db.Update(context.Background(), func(tx store.Tx) error {
		b, err := tx.Backend("b-1")
		if err != nil {
			return err
		}
		if b.State.Status != plane.Ready || b.Volume != "" || b.Release != 0 || b.RequestID != "r-1" {
			t.Errorf("backend %+v", b)
		}
		if n, err := tx.CountLive("dr-1"); n != 1 || err != nil {
			t.Errorf("%d live, %v", n, err)
		}
		if k, err := tx.Key("", "doc"); k.Backend != "b-1" || err != nil {
			t.Errorf("key %+v, %v", k, err)
		}
		if g, err := tx.NextGeneration(); g != plane.NewGeneration(1, 42) || err != nil {
			t.Errorf("next generation %d, %v", g, err)
		}
		n, err := tx.InsertRelease(store.Release{App: "board", Template: plane.Template{Command: []string{"./board"}}})
		if err != nil || n != 1 {
			t.Errorf("release %d, %v", n, err)
		}
		if err := tx.PutApp("board", n); err != nil {
			return err
		}
		return tx.InsertVolume(store.Volume{ID: "v-1", Name: "doc", Drone: "dr-1", Generation: b.Generation})
	})
	if err != nil {
		t.Fatal(err)
	}
}
