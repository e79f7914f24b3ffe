package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// hand is a visitor of a whiteboard who draws.
type hand struct {
	t    *testing.T
	conn *websocket.Conn
	has  map[string]bool // strokes that were there

	mu    sync.Mutex // guards saved
	saved []string   // ids that were acknowledged, in order
}

// visit opens the whiteboard of a key and reads what is on it.
func (d *Dev) visit(t *testing.T, key string) *hand {
	t.Helper()
	_, port, err := net.SplitHostPort(d.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+d.Proxy+"/ws?name=hand", &websocket.DialOptions{Host: key + ".localhost:" + port})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	h := &hand{t: t, conn: conn, has: map[string]bool{}}
	for {
		m, err := h.next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range m.Strokes {
			h.has[s.ID] = true
		}
		if m.Last {
			return h // who doesn't draw reads no more
		}
	}
}

type whiteboardSays struct {
	Type    string
	IDs     []string
	Last    bool
	Strokes []struct{ ID string }
	Why     string
}

func (h *hand) next(ctx context.Context) (whiteboardSays, error) {
	var raw json.RawMessage
	var m whiteboardSays
	_, raw, err := h.conn.Read(ctx)
	if err != nil {
		return m, err
	}
	var kind struct{ Type string }
	if err := json.Unmarshal(raw, &kind); err != nil {
		return m, err
	}
	switch kind.Type {
	case "strokes", "saved", "refused": // in others strokes is a number
		err = json.Unmarshal(raw, &m)
	}
	m.Type = kind.Type
	return m, err
}

// draw adds strokes, each after the last was saved, until ctx is done.
func (h *hand) draw(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("stroke-%06d", n)
		op := fmt.Sprintf(`{"type":"op","op":{"id":%q,"add":{"id":%q,"by":"author-1","color":"ink","width":40,"points":[%d,5000,%d,5001]}}}`, id, id, 100+n, 101+n)
		if h.conn.Write(ctx, websocket.MessageText, []byte(op)) != nil {
			return
		}
		for done := false; !done; {
			m, err := h.next(ctx)
			if err != nil {
				return
			}
			if m.Type == "refused" {
				h.t.Error(m.Why)
				return
			}
			for _, got := range m.IDs {
				done = done || got == id
			}
		}
		h.mu.Lock()
		h.saved = append(h.saved, id)
		h.mu.Unlock()
	}
}

func (h *hand) acknowledged() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.saved[:len(h.saved):len(h.saved)]
}

func (h *hand) lacks(ids []string) (missing int) {
	for _, id := range ids {
		if !h.has[id] {
			missing++
		}
	}
	return missing
}

// The whole way of a drawing: drawn while a backup is taken, gone on with after
// kill -9, and put back.
func TestNothingAcknowledgedIsMissingFromABackupTakenWhileDrawing(t *testing.T) {
	t.Parallel()
	d := startIn(t, t.TempDir())
	h := d.visit(t, "sketch")
	ctx, stop := context.WithCancel(t.Context())
	var drawing sync.WaitGroup
	drawing.Go(func() { h.draw(ctx) })
	defer drawing.Wait()
	defer stop()
	await(t, 30*time.Second, "some strokes", func() bool { return len(h.acknowledged()) > 20 })
	before := h.acknowledged()
	file := filepath.Join(t.TempDir(), "it.plane")
	does(t, "backup", file, "--data-dir", d.DataDir)
	await(t, 30*time.Second, "more strokes", func() bool { return len(h.acknowledged()) > len(before)+20 })
	d.Kill() // the drawing goes on in its process, without plane
	stop()
	drawing.Wait()
	_ = h.conn.CloseNow()
	all := h.acknowledged()

	d.Restart()
	d.AwaitListening()
	again := d.visit(t, "sketch")
	_ = again.conn.CloseNow()
	if n := again.lacks(all); n > 0 {
		t.Errorf("%d of %d strokes are missing after kill -9", n, len(all))
	}
	if err := d.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	does(t, "restore", file, "--data-dir", d.DataDir)
	d.Restart()
	d.AwaitListening()
	back := d.visit(t, "sketch")
	_ = back.conn.CloseNow()
	if n := back.lacks(before); n > 0 {
		t.Errorf("%d of %d strokes that were saved before the backup are missing", n, len(before))
	}
	if back.lacks(all) == 0 {
		t.Error("nothing was put back: strokes of after the backup are there")
	}
}

// A store from a backup knows nothing of data that came to be after it: it
// mustn't begin with an empty drawing.
func TestAnOlderStoreKeepsLaterData(t *testing.T) {
	t.Parallel()
	d := startIn(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "it.plane")
	does(t, "backup", file, "--data-dir", d.DataDir)
	drawn := map[string][]string{}
	for _, key := range []string{"later", "ended"} {
		h := d.visit(t, key)
		ctx, stop := context.WithCancel(t.Context())
		var drawing sync.WaitGroup
		drawing.Go(func() { h.draw(ctx) })
		await(t, 30*time.Second, "some strokes", func() bool { return len(h.acknowledged()) > 3 })
		stop()
		drawing.Wait()
		_ = h.conn.CloseNow()
		drawn[key] = h.acknowledged()
	}
	for _, b := range d.Backends() {
		if b.Key.Name == "ended" {
			terminate(d.API, b.BackendID)
		}
	}
	await(t, 30*time.Second, "one has ended", func() bool { return len(d.Backends()) == 1 })
	d.Kill()
	does(t, "restore", file, "--store-only", "--data-dir", d.DataDir)
	d.Restart()
	d.AwaitListening()
	back := d.visit(t, "later")
	_ = back.conn.CloseNow()
	if n := back.lacks(drawn["later"]); n > 0 {
		t.Errorf("%d strokes are missing", n)
	}
	code, out, errOut := cli(t, t.TempDir(), "doctor", "--data-dir", d.DataDir, "--json")
	var said struct {
		Checks []struct{ Check, Status, Text string }
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Fatal(code, err, errOut)
	}
	for _, c := range said.Checks {
		if c.Check == "data" && (c.Status != "ok" || c.Text != "That of 2 keys is kept here.") {
			t.Errorf("%+v", c)
		}
	}
}
