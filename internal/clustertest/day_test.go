package clustertest

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	_ "modernc.org/sqlite" // to count rows beside the controller
)

// day is a `plane dev` whose keys have a normal day, made short.
type day struct {
	*Dev
	t     *testing.T
	admin string
	lived atomic.Int64
	wrong sync.Map // what went otherwise than it should → how often
}

// TestANormalDayLeavesNothingBehind lets keys come, idle, hold, crash, loop and
// go. Memory, descriptors, rows, files and goroutines end where they began.
func TestANormalDayLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	keys, lasts := 100, 7*time.Second
	if os.Getenv("PLANE_SOAK") != "" {
		keys, lasts = 2000, 5*time.Minute
	}
	d := startDay(t)
	d.pass(40, 2*time.Second) // whatever is made once is made now
	d.rest()
	before := d.take()
	d.pass(keys, lasts)
	d.rest()
	after := d.take()
	t.Logf("%d lives; before %+v", d.lived.Load(), before)
	t.Logf("after %+v", after)
	d.wrong.Range(func(what, n any) bool {
		t.Errorf("%v: %d times", what, n.(*atomic.Int64).Load())
		return true
	})
	before.compare(t, after, int(d.lived.Load()))
}

func startDay(t *testing.T) *day {
	t.Helper()
	echo := Build(t).Echo
	dir := t.TempDir()
	file := fmt.Sprintf(`default: day
apps:
  day:
    command: [%q]
    max_idle_seconds: 1
    data: scratch
  loop:
    command: [%q, "--exit", "3"]
`, echo, echo)
	if err := os.WriteFile(filepath.Join(dir, "plane.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &day{t: t, admin: "127.0.0.1:" + FreePort(t), Dev: &Dev{DataDir: filepath.Join(t.TempDir(), "data")}}
	d.Part = Start(t, dir, nil, "dev", "--json", "--quiet", "--data-dir", d.DataDir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0",
		"--admin", d.admin, "--keep-ended", "2s", "--max-backends", "1000")
	t.Cleanup(func() { _ = d.Stop(20 * time.Second) })
	d.AwaitListening()
	return d
}

// pass lets n keys live, spread over that time.
func (d *day) pass(n int, lasts time.Duration) {
	lives := []func(key string) error{d.visits, d.visits, d.visits, d.talks, d.talks, d.holds, d.crashes, d.isStopped, d.loops}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var wg sync.WaitGroup
	tick := time.NewTicker(lasts / time.Duration(n))
	defer tick.Stop()
	for i := range n {
		live := lives[r.IntN(len(lives))]
		key := fmt.Sprintf("day-%d-%d", n, i)
		wg.Go(func() {
			d.lived.Add(1)
			if err := live(key); err != nil {
				count, _ := d.wrong.LoadOrStore(err.Error(), new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
			}
		})
		<-tick.C
	}
	wg.Wait()
}

func (d *day) ask(method, key, path string, want int) error {
	code, body, err := do(method, d.Proxy, key, path)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if code != want {
		return fmt.Errorf("%s %s: %d %.200s", method, path, code, body)
	}
	return nil
}

// visits comes a few times and leaves.
func (d *day) visits(key string) error {
	for range 3 {
		if err := d.ask(http.MethodPost, key, "/state", http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}

// talks keeps a WebSocket open for longer than the idle time.
func (d *day) talks(key string) error {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	_, port, _ := strings.Cut(d.Proxy, ":")
	ws, _, err := websocket.Dial(ctx, "ws://"+d.Proxy+"/ws", &websocket.DialOptions{Host: key + ".localhost:" + port})
	if err != nil {
		return fmt.Errorf("dial a WebSocket: %w", err)
	}
	defer ws.CloseNow()
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			return fmt.Errorf("write to a WebSocket: %w", err)
		}
		if _, b, err := ws.Read(ctx); err != nil || string(b) != "hello" {
			return fmt.Errorf("read from a WebSocket: %q %w", b, err)
		}
		<-tick.C
	}
	return ws.Close(websocket.StatusNormalClosure, "")
}

func (d *day) holds(key string) error {
	return d.ask(http.MethodPost, key, "/hold?seconds=1", http.StatusNoContent)
}

// crashes dies and is started again by the next visit.
func (d *day) crashes(key string) error {
	if err := d.visits(key); err != nil {
		return err
	}
	_, _, _ = do(http.MethodPost, d.Proxy, key, "/crash?how=kill") // its answer may come or not
	return d.visits(key)
}

func (d *day) isStopped(key string) error {
	if err := d.visits(key); err != nil {
		return err
	}
	for _, b := range d.Backends() {
		if b.Key.Name == key {
			terminate(d.API, b.BackendID)
		}
	}
	return nil
}

// loops ends right after each of its starts, until it isn't started any more.
func (d *day) loops(key string) error {
	for range 10 {
		code, body, err := do(http.MethodGet, d.Proxy, key+"--loop", "/")
		if err != nil {
			return fmt.Errorf("a program that ends at once: %w", err)
		}
		if code != http.StatusServiceUnavailable {
			return fmt.Errorf("a program that ends at once: %d %.200s", code, body)
		}
	}
	return nil
}

// rest waits until the day is over: nothing lives, and what ended is forgotten.
func (d *day) rest() {
	d.t.Helper()
	await(d.t, 60*time.Second, "nothing lives, and what ended is forgotten", func() bool {
		rows := d.rows()
		return len(d.Backends()) == 0 && rows["backend"] == 0 && rows["event"] == 0
	})
}

// stand is how much there is of everything that must not grow.
type stand struct {
	HeapBytes   int64
	Goroutines  int64
	Descriptors map[string]int
	Memory      map[string]int64 // resident bytes of warden and reaper
	Rows        map[string]int
	Files       int
}

func (d *day) take() stand {
	d.t.Helper()
	s := stand{Descriptors: map[string]int{}, Memory: map[string]int64{}, Rows: d.rows()}
	d.scrape("/debug/pprof/heap?gc=1")
	metrics := d.scrape("/metrics")
	s.HeapBytes, s.Goroutines = sample(d.t, metrics, "go_memstats_heap_inuse_bytes"), sample(d.t, metrics, "go_goroutines")
	for part, pid := range map[string]int{"dev": d.Pid(), "warden": d.LockHolder("warden"), "reaper": d.LockHolder("reaper")} {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			d.t.Fatal(err)
		}
		s.Descriptors[part] = len(fds)
		if part != "dev" {
			s.Memory[part] = resident(d.t, pid)
		}
	}
	err := filepath.WalkDir(d.DataDir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			s.Files++
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *day) scrape(path string) string {
	d.t.Helper()
	resp, err := apiClient.Get("http://" + d.admin + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("%s: %s %v", path, resp.Status, err)
	}
	return string(b)
}

func sample(t *testing.T, metrics, name string) int64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
	if m == nil {
		t.Fatalf("no %s among the metrics", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(v)
}

func resident(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// rows counts every table but that of spent ids, which grows by design.
func (d *day) rows() map[string]int {
	d.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(d.DataDir, "plane.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	names, err := db.Query(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose%' AND name <> 'spent_id'`)
	if err != nil {
		d.t.Fatal(err)
	}
	defer names.Close()
	var tables []string
	for names.Next() {
		var name string
		if err := names.Scan(&name); err != nil {
			d.t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := names.Err(); err != nil {
		d.t.Fatal(err)
	}
	rows := map[string]int{}
	for _, name := range tables {
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM "` + name + `"`).Scan(&n); err != nil {
			d.t.Fatal(err)
		}
		rows[name] = n
	}
	return rows
}

// Slack for what a runtime keeps in reserve.
const (
	heapSlack     = 6 << 20 // bytes
	residentSlack = 8 << 20 // bytes
	slack         = 12      // goroutines, descriptors
	fileSlack     = 4       // the store's and the journal's, when they begin a new one
)

// compare reports what grew. How often a key crashed is remembered for an hour:
// at most one row per key that lived.
func (s stand) compare(t *testing.T, now stand, lived int) {
	t.Helper()
	if now.HeapBytes > s.HeapBytes+heapSlack {
		t.Errorf("heap grew from %d to %d bytes", s.HeapBytes, now.HeapBytes)
	}
	if now.Goroutines > s.Goroutines+slack {
		t.Errorf("goroutines grew from %d to %d", s.Goroutines, now.Goroutines)
	}
	for _, part := range slices.Sorted(maps.Keys(s.Descriptors)) {
		if now.Descriptors[part] > s.Descriptors[part]+slack {
			t.Errorf("descriptors of %s grew from %d to %d", part, s.Descriptors[part], now.Descriptors[part])
		}
		if now.Memory[part] > s.Memory[part]+residentSlack {
			t.Errorf("memory of %s grew from %d to %d bytes", part, s.Memory[part], now.Memory[part])
		}
	}
	for table, n := range now.Rows {
		if table == "crash" && n <= lived {
			continue
		}
		if n > s.Rows[table] {
			t.Errorf("rows of %s grew from %d to %d", table, s.Rows[table], n)
		}
	}
	if now.Files > s.Files+fileSlack {
		t.Errorf("files grew from %d to %d", s.Files, now.Files)
	}
}
