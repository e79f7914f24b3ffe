package whiteboard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestNothingAcknowledgedIsMissingAfterKill9WhileDrawing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	saved := map[string]bool{}
	for round := range 4 {
		p := run(t, dir, fmt.Sprintf("SESSION_BACKEND_FENCING_TOKEN=%d", round+1))
		var drawers []*visitorOf
		for range 3 {
			v := visit(t, p.addr, "drawer")
			drawers = append(drawers, v)
			if got := ids(v.board); !holds(got, saved) || v.hello.Generation != int64(round+1) || v.hello.Restored != (round > 0) {
				t.Fatalf("round %d: of %d acknowledged strokes %d are there; hello %+v", round, len(saved), len(got), v.hello.hello)
			}
		}
		acknowledged := make(chan string, 10_000)
		var drawing sync.WaitGroup
		for _, v := range drawers {
			drawing.Go(func() { v.scribble() })
			drawing.Go(func() { v.listen(acknowledged) })
		}
		for range 100 {
			select {
			case id := <-acknowledged:
				saved[id] = true
			case <-time.After(patience):
				t.Fatal("nothing is acknowledged")
			}
		}
		p.kill()
		drawing.Wait()
		for len(acknowledged) > 0 {
			saved[<-acknowledged] = true
		}
	}
	p := run(t, dir)
	v := visit(t, p.addr, "late")
	if got := ids(v.board); !holds(got, saved) {
		t.Errorf("of %d acknowledged strokes %d are there", len(saved), len(got))
	}
	t.Logf("%d acknowledged, %d there", len(saved), len(v.board))
}

// scribble draws until the connection breaks.
func (v *visitorOf) scribble() {
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for range 1000 {
		if _, err := v.add(60); err != nil {
			return
		}
		<-pace.C
	}
}

// listen tells what is acknowledged until the connection breaks.
func (v *visitorOf) listen(acknowledged chan<- string) {
	for {
		m, err := v.next()
		if err != nil {
			return
		}
		for _, id := range m.IDs {
			acknowledged <- id
		}
	}
}

func holds(all, some map[string]bool) bool {
	for id := range some {
		if !all[id] {
			return false
		}
	}
	return true
}

func TestSIGTERMSavesEverythingAndTellsSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := run(t, dir)
	v := visit(t, p.addr, "ann")
	id, err := v.add(10)
	if err != nil {
		t.Fatal(err)
	}
	kept := v.mustAdd(10)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, err = v.next()
	for err == nil {
		_, err = v.next()
	}
	if !strings.Contains(err.Error(), "everything is saved") {
		t.Errorf("the page is told %v", err)
	}
	if err := <-p.done; err != nil {
		t.Error(err)
	}
	p.done <- nil
	if info, err := os.Stat(filepath.Join(dir, logName)); err != nil || info.Size() != 0 {
		t.Errorf("the log isn't folded into the snapshot: %v %v", info, err)
	}
	got := ids(visit(t, run(t, dir).addr, "ann").board)
	if !got[id] || !got[kept] || len(got) != 2 {
		t.Errorf("restored %v", got)
	}
}

// written gives a directory in which n strokes were drawn and the process was
// then cut off: all is in the log.
func written(t *testing.T, n int) (dir string, b *board) {
	t.Helper()
	dir = t.TempDir()
	j, b, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		o := op{N: b.N + 1, ID: fmt.Sprintf("stroke-%d", i), Add: stroke(fmt.Sprintf("stroke-%d", i), 5)}
		if err := j.append([]op{o}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.apply(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	return dir, b
}

func TestATornLastLineIsSetAsideAndTheRestIsThere(t *testing.T) {
	t.Parallel()
	dir, _ := written(t, 10)
	path := filepath.Join(dir, logName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lastLine := strings.LastIndex(strings.TrimSuffix(string(whole), "\n"), "\n") + 1
	for cut := lastLine; cut < len(whole); cut += 7 {
		for _, garbage := range []string{"", "\x00\x00\x00\x00", "]\n{\n"} {
			if err := os.WriteFile(path, append(append([]byte{}, whole[:cut]...), garbage...), 0o600); err != nil {
				t.Fatal(err)
			}
			j, b, err := openJournal(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Strokes) != 9 {
				t.Fatalf("cut at %d with %q: %d strokes", cut, garbage, len(b.Strokes))
			}
			// What comes next must be readable again.
			if err := j.append([]op{{N: b.N + 1, ID: "stroke-next", Add: stroke("stroke-next", 5)}}); err != nil {
				t.Fatal(err)
			}
			if err := j.close(); err != nil {
				t.Fatal(err)
			}
			j, b, err = openJournal(dir)
			if err != nil || len(b.Strokes) != 10 {
				t.Fatalf("cut at %d with %q, then one more: %d strokes, %v", cut, garbage, len(b.Strokes), err)
			}
			_ = j.close()
		}
	}
}

func TestACrashWhileFoldingLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	dir, b := written(t, 10)
	log, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		j, got, err := openJournal(dir)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer j.close()
		if len(got.Strokes) != len(b.Strokes) || got.N != b.N || got.numbers != b.numbers {
			t.Errorf("%s: %d strokes, last change %d", when, len(got.Strokes), got.N)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, snapshotName+".123"), []byte(`{"n":1,"str`), 0o600); err != nil {
		t.Fatal(err)
	}
	check("half a snapshot beside")
	j, _, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.fold(b), j.close()); err != nil {
		t.Fatal(err)
	}
	check("folded")
	if err := os.WriteFile(filepath.Join(dir, logName), log, 0o600); err != nil {
		t.Fatal(err)
	}
	check("the log isn't emptied yet")
}

func TestADamagedSnapshotIsNeverAnEmptyDrawing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, snapshotName), []byte(`{"n":5,`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Backend{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("opened: %v", err)
	}
}

func TestAStrokeIsAcknowledgedOnlyWhenItIsSynced(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Backend{})
	if err != nil {
		t.Fatal(err)
	}
	allow := make(chan error)
	s.journal.sync = func() error { return <-allow }
	v := &visitor{out: make(chan []byte, behind)}
	committed := make(chan error, 1)
	go func() {
		committed <- s.room.commit([]change{{op: op{ID: "stroke-1", Add: stroke("stroke-1", 2)}, from: v}})
	}()
	until(t, "it is written", func() bool {
		info, err := os.Stat(filepath.Join(s.journal.dir, logName))
		return err == nil && info.Size() > 0
	})
	if len(v.out) != 0 || len(s.room.board.Strokes) != 0 {
		t.Error("acknowledged before its fsync")
	}
	allow <- errors.New("no space left on device")
	if err := <-committed; err == nil || len(v.out) != 0 {
		t.Errorf("after a failed fsync: %v, %d messages", err, len(v.out))
	}
}

func TestTheLogIsFoldedBeforeItGrowsLarge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addr, _ := serve(t, dir)
	v := visit(t, addr, "ann")
	for range 110 {
		if _, err := v.add(1000); err != nil { // about 10 KB each
			t.Fatal(err)
		}
	}
	v.mustAdd(1)
	until(t, "the log is folded", func() bool {
		log, err := os.Stat(filepath.Join(dir, logName))
		snapshot, err2 := os.Stat(filepath.Join(dir, snapshotName))
		return err == nil && err2 == nil && log.Size() < foldAt && snapshot.Size() > foldAt/2
	})
	if got := visit(t, addr, "late"); len(got.board) != 111 {
		t.Errorf("%d strokes", len(got.board))
	}
}
