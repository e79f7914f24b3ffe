package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
)

func init() { roles["load"] = load }

// load creates keys until it is killed, and prints each one that was acknowledged.
func load(path string) error {
	db, err := Open(context.Background(), path, Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for g := range 16 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				err := db.Update(context.Background(), func(tx store.Tx) error {
					if err := insertKey(name)(tx); err != nil {
						return err
					}
					return tx.InsertEvent(store.Event{Kind: "created", Key: plane.Key{Name: name}})
				})
				if err != nil {
					failed <- err
					return
				}
				fmt.Println(name)
			}
		}()
	}
	return <-failed
}

func start(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "SQLITE_TEST_ROLE="+role, "SQLITE_TEST_PATH="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestWhatWasAcknowledgedOutlivesKill9(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plane.db")
	var acked []string
	for round := range 3 {
		cmd := start(t, "load", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		lines, most := bufio.NewReader(out), len(acked)+400
		for {
			line, err := lines.ReadString('\n')
			if err != nil { // a torn last line was acknowledged, but which key?
				break
			}
			acked = append(acked, strings.TrimSpace(line))
			if len(acked) == most {
				_ = cmd.Process.Kill() // SIGKILL; what it wrote before is still in the pipe
			}
		}
		kill.Stop()
		_ = cmd.Wait()
		if len(acked) < most {
			t.Fatalf("round %d: only %d keys", round, len(acked))
		}

		db, err := Open(context.Background(), path, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		err = db.View(context.Background(), func(tx store.Tx) error {
			for _, name := range acked {
				if _, err := tx.Key("", name); err != nil {
					return fmt.Errorf("acknowledged key %s: %w", name, err)
				}
			}
			// No closure is there by halves.
			last, err := tx.LastEvent()
			if err != nil {
				return err
			}
			for after := int64(0); after < last; {
				events, err := tx.Events(after, 0)
				if err != nil || len(events) == 0 {
					return fmt.Errorf("events after %d: %d, %v", after, len(events), err)
				}
				for _, e := range events {
					after = e.Seq
					if _, err := tx.Key("", e.Key.Name); err != nil {
						return fmt.Errorf("key %s, which has an event: %w", e.Key.Name, err)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		intact := ""
		if err := db.writer.c.query("PRAGMA integrity_check", func(r *row) error { intact = r.text(); return nil }); err != nil || intact != "ok" {
			t.Errorf("round %d: integrity %q, %v", round, intact, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
