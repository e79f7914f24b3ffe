package controller

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

const digestA, digestB = "sha256:aaaaaaaaaaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbbbbbbbbbb"

func images(d *drone) { d.autoplay, d.hello.Runtimes = false, []string{"oci"} }

func ofImage(image string) plane.Template { return plane.Template{Image: image} }

func TestADigestIsKeptWithTheBackendAndItsRelease(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", images)
	p.apply("board", ofImage("board:1"))
	start := func(key, digest string) plane.BackendID {
		b := p.connectTo(ofApp("board", key)).BackendID
		eventually(t, "it is spawned", func() bool { return d.generation(b) != 0 })
		d.say(b, plane.State{Status: plane.Loading}, plane.State{Status: plane.Starting, Digest: digest},
			plane.State{Status: plane.Waiting, Digest: digest, Address: "127.0.0.1:4000"},
			plane.State{Status: plane.Ready, Digest: digest, Address: "127.0.0.1:4000"})
		p.until(b, plane.Ready)
		return b
	}
	release := func() ReleaseView {
		app, err := p.App(t.Context(), operatorActor, "board")
		if err != nil {
			t.Fatal(err)
		}
		if (app.Digest == "") != (app.Releases[0].Digest == nil) {
			t.Errorf("the app says %v, its release %v", app.Digest, app.Releases[0].Digest)
		}
		return app.Releases[0]
	}
	if r := release(); r.Digest != nil {
		t.Errorf("before anything ran: %+v", r)
	}
	first := start("one", digestA)
	second := start("two", digestB) // somebody moved the tag
	if r := release(); r.Digest == nil || *r.Digest != digestA {
		t.Errorf("of a release the first digest counts: %+v", r)
	}
	for id, want := range map[plane.BackendID]string{first: digestA, second: digestB} {
		if v, err := p.Backend(t.Context(), operatorActor, id); err != nil || v.Digest != want {
			t.Errorf("%s has %q, %v", id, v.Digest, err)
		}
	}
	// Whoever reports its end may not know any more.
	d.say(second, plane.State{Status: plane.Terminated, LastStatus: plane.Ready, Exit: &plane.Exit{Message: "gone"}})
	p.until(second, plane.Terminated)
	past := p.why("board", "two").History[0]
	if past.Digest != digestB {
		t.Errorf("after its end: %+v", past)
	}
	says(t, "story", past.Story, "as release 1 of app board from image sha256:bbbbbbbbbbbb on dr-1")
}

func (d *drone) generation(id plane.BackendID) plane.Generation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.generationLocked(id)
}

func TestWhyTellsWhatIsTheMatterWithAnImage(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", images)
	p.apply("board", plane.Template{Image: "board:1", Port: 5000})
	b := p.connectTo(ofApp("board", "doc")).BackendID
	eventually(t, "it is spawned", func() bool { return d.generation(b) != 0 })
	d.say(b, plane.State{Status: plane.Loading})
	p.until(b, plane.Loading)
	_ = d.conn.Send(wire.Progress{Backend: b, Text: "pulling", Done: 25_000_000, Total: 100_000_000})
	eventually(t, "how far it is", func() bool { return strings.Contains(p.why("board", "doc").Now.Awake, "Pulling: 25 % of 100.0 MB.") })
	d.say(b, plane.State{
		Status: plane.Terminated, LastStatus: plane.Loading, Exit: &plane.Exit{Message: "The registry refuses the credentials for board:1."},
	})
	p.until(b, plane.Terminated)
	why := p.why("board", "doc")
	says(t, "story", why.History[0].Story, "never ready. It never ran: The registry refuses the credentials for board:1.")
	says(t, "output", why.History[0].Exit.Output, "The registry refuses")

	late := p.connectTo(ofApp("board", "late")).BackendID
	eventually(t, "it is spawned", func() bool { return d.generation(late) != 0 })
	d.say(late, plane.State{Status: plane.Loading}, plane.State{Status: plane.Starting}, plane.State{Status: plane.Waiting, Address: "a"})
	p.until(late, plane.Waiting)
	says(t, "waiting", p.why("board", "late").Now.Awake, "An image must answer HTTP on its port 5000")
	x := p.proxy("px-1")
	d.say(late, plane.State{Status: plane.Terminated, LastStatus: plane.Waiting, Reason: plane.StartupTimeout, Exit: &plane.Exit{Signal: "SIGKILL"}})
	eventually(t, "pages are told", func() bool { r := x.route(late); return r.End != nil })
	says(t, "page", x.route(late).End.Message, "because it wasn't ready in time. An image must answer HTTP on its port 5000")
}

// Who asks why is told what a connect would be told, also before the first one.
func TestWhyTellsThatNoDroneRunsIt(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.apply("board", ofImage("board:1"))
	says(t, "without a drone", p.why("board", "doc").Next, "No active drone available.")
	p.drone("dr-1", func(d *drone) {
		d.hello.RuntimesMissing = map[string]string{"oci": "Neither crun nor runc is installed; install crun.", "docker": "The Docker engine doesn't answer."}
	})
	next := ""
	eventually(t, "the drone's lease is known", func() bool { next = p.why("board", "doc").Next; return next != "No active drone available." })
	_, err := p.Connect(t.Context(), operatorActor, ofApp("board", "doc"))
	if err == nil || !strings.HasSuffix(err.Error(), next) {
		t.Errorf("connect says %v, why says %q", err, next)
	}
	says(t, "why", next, "dr-1 can't offer docker. The Docker engine doesn't answer. dr-1 can't offer oci. Neither crun nor runc is installed; install crun.")
	b := p.connectTo(keyed("free")).BackendID
	p.until(b, plane.Ready)
	if err := p.Terminate(t.Context(), operatorActor, b, plane.Hard); err != nil {
		t.Fatal(err)
	}
	p.until(b, plane.Terminated)
	if next := p.why("", "free").Next; next != "" {
		t.Errorf("of what can be started again: %q", next)
	}
	if next := p.why("", "unknown").Next; next != "" {
		t.Errorf("of a key that nothing is known of: %q", next)
	}
}

func TestUsageIsShownAndSummedWithoutNames(t *testing.T) {
	reg := prometheus.NewRegistry()
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Metrics = NewMetrics(reg) }})
	d := p.drone("dr-1", func(d *drone) {
		d.hello.RuntimesMissing = map[string]string{"oci": "Neither crun nor runc is installed."}
	})
	b := p.connectTo(keyed("doc")).BackendID
	p.until(b, plane.Ready)
	usage := wire.Usage{Backend: b, CPUMS: 500, Memory: 1, Cache: 2, Pids: 3, In: 4, Out: 5, Disk: 6, Data: 7}
	host := wire.Host{CPUs: 4, CPUPercent: 25, Memory: 100, MemoryUsed: 40, Disk: 1000, DiskUsed: 300, ImagesBytes: 9}
	d.conn.SendTelemetry(wire.Telemetry{Backends: []wire.Usage{usage}, Host: &host})
	var v BackendView
	eventually(t, "usage is shown", func() bool {
		var err error
		v, err = p.Backend(t.Context(), operatorActor, b)
		return err == nil && v.CPUMS == 500
	})
	if got := [7]int64{v.MemoryBytes, v.CacheBytes, v.Pids, v.Received, v.Sent, v.DiskBytes, v.DataBytes}; got != [7]int64{1, 2, 3, 4, 5, 6, 7} {
		t.Errorf("shown: %v", got)
	}
	state, err := p.ClusterState(t.Context(), testCluster)
	if err != nil || len(state.Drones) != 1 {
		t.Fatalf("%+v, %v", state, err)
	}
	node := state.Drones[0]
	if node.Host == nil || *node.Host != host || node.Runtimes[0] != "process" || node.Missing["oci"] != "Neither crun nor runc is installed." {
		t.Errorf("the node is shown as %+v", node)
	}
	usage.CPUMS, usage.In, usage.Out = 2500, 1004, 2005
	d.conn.SendTelemetry(wire.Telemetry{Backends: []wire.Usage{usage}})
	eventually(t, "what was used since is counted", func() bool { return testutil.ToFloat64(p.cfg.Metrics.cpu) == 2 })
	want := `
		# HELP plane_usage_network_bytes_total Bytes that went into and out of the networks of backends.
		# TYPE plane_usage_network_bytes_total counter
		plane_usage_network_bytes_total{direction="received"} 1000
		plane_usage_network_bytes_total{direction="sent"} 2000
		# HELP plane_usage_memory_bytes Memory of backends: what they can't give up, and their files in the page cache.
		# TYPE plane_usage_memory_bytes gauge
		plane_usage_memory_bytes{kind="cache"} 2
		plane_usage_memory_bytes{kind="used"} 1
		# HELP plane_host_cpus Processors of the drones' machines: busy ones and idle ones.
		# TYPE plane_host_cpus gauge
		plane_host_cpus{state="busy"} 1
		plane_host_cpus{state="idle"} 3
		# HELP plane_host_disk_bytes File systems of the drones' data directories: used and free.
		# TYPE plane_host_disk_bytes gauge
		plane_host_disk_bytes{state="free"} 700
		plane_host_disk_bytes{state="used"} 300
	`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "plane_usage_network_bytes_total", "plane_usage_memory_bytes", "plane_host_cpus", "plane_host_disk_bytes"); err != nil {
		t.Error(err)
	}
}

func TestWhatRanBeforeADroneConnectedIsNotCountedTwice(t *testing.T) {
	var u usage
	report := func(connected time.Duration, x wire.Usage) spent {
		_, s := u.take([]wire.Usage{x}, connected)
		return s
	}
	for _, c := range []struct {
		what      string
		connected time.Duration
		x         wire.Usage
		want      spent
	}{
		{"the first report may be old", time.Second, wire.Usage{Backend: "a", CPUMS: 100, In: 10}, spent{}},
		{"what came since", 11 * time.Second, wire.Usage{Backend: "a", CPUMS: 150, In: 15}, spent{cpuMS: 50, in: 5}},
		{"counts that began again", 21 * time.Second, wire.Usage{Backend: "a", CPUMS: 20, In: 16}, spent{in: 1}},
		{"one that began later", time.Minute, wire.Usage{Backend: "b", CPUMS: 70, Out: 3}, spent{cpuMS: 70, out: 3}},
	} {
		if got := report(c.connected, c.x); got != c.want {
			t.Errorf("%s: %+v", c.what, got)
		}
	}
}

// Secrets of registries are written and read by nobody but drones.
func TestCredentialsAreNeverShown(t *testing.T) {
	const user, password, token = "robot-4711", "pa55-of-the-registry", "tok3n-of-the-registry"
	secrets := []string{user, password, token}
	var log lockedText
	p := newPlant(t, plantOptions{config: func(c *Config) { c.Log = log.logger() }})
	d := p.drone("dr-1", images)
	x := p.proxy("px-1")
	shown := func(what string, v any, err error) {
		t.Helper()
		b, jerr := json.Marshal(v)
		if jerr != nil {
			t.Fatal(jerr)
		}
		text := string(b)
		if err != nil {
			text += err.Error()
		}
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s shows %q: %s", what, s, text)
			}
		}
	}
	ofPassword := plane.Template{Image: "registry.example/board:1", Credentials: &plane.Credentials{Username: user, Password: password}}
	ofToken := plane.Template{Image: "registry.example/board:1", Credentials: &plane.Credentials{IdentityToken: token}}
	for _, template := range []plane.Template{ofPassword, ofToken} {
		out, err := p.Apply(t.Context(), operatorActor, "board", template)
		shown("apply", out, err)
	}
	_, err := p.Apply(t.Context(), operatorActor, "board", ofPassword.Masked())
	shown("apply of what is shown", nil, err)
	if !plane.IsKind(err, plane.BadRequest) {
		t.Errorf("*** is taken for credentials: %v", err)
	}
	both := ofPassword
	both.Credentials = &plane.Credentials{Username: user, Password: password, IdentityToken: token}
	_, err = p.Apply(t.Context(), operatorActor, "board", both)
	shown("a mistake in an app", nil, err)
	for name, executable := range map[string]string{
		"well":   `{"image":"b:1","credentials":{"username":"` + user + `","password":"` + password + `"}}`,
		"wrong":  `{"image":"b:1","credentials":["` + token + `"]}`,
		"odd":    `{"image":"b:1","credentials":{"username":"` + user + `","pasword":"` + password + `"}}`,
		"broken": `{"image":"b:1","credentials":{"username":"` + user + `","password":"` + password,
	} {
		r := keyed(name, func(s *plane.Spec) { s.Executable = json.RawMessage(executable) })
		out, err := p.Connect(t.Context(), operatorActor, r)
		shown("connect "+name, out, err)
	}
	b := p.connectTo(ofApp("board", "doc")).BackendID
	eventually(t, "both are spawned", func() bool { return len(d.spawned()) == 2 })
	for _, m := range d.spawned() {
		whole, err := json.Marshal(m)
		if err != nil || !strings.Contains(string(whole), "credentials") {
			t.Errorf("the drone needs them: %s, %v", whole, err)
		}
		shown("the drone's log", m.LogValue().String(), nil)
	}
	d.say(b, plane.State{Status: plane.Loading}, plane.State{Status: plane.Terminated, LastStatus: plane.Loading, Exit: &plane.Exit{Message: "No such image."}})
	p.until(b, plane.Terminated)

	ctx := t.Context()
	app, err := p.App(ctx, operatorActor, "board")
	shown("app", app, err)
	if c := app.Releases[1].Spec.Credentials; c == nil || c.Username != "***" || c.Password != "***" || c.IdentityToken != "" {
		t.Errorf("that there are some is shown as %+v", c)
	}
	apps, err := p.Apps(ctx, operatorActor)
	shown("apps", apps, err)
	moved, err := p.Point(ctx, operatorActor, "board", 1)
	shown("rollback", moved, err)
	view, err := p.Backend(ctx, operatorActor, b)
	shown("backend", view, err)
	page, err := p.Backends(ctx, operatorActor, store.Filter{})
	shown("backends", page, err)
	for _, key := range [][2]string{{"board", "doc"}, {"", "well"}} {
		why, err := p.Explain(ctx, operatorActor, key[0], key[1])
		shown("explain", why, err)
	}
	err = p.Events(ctx, operatorActor, 0, false, func(e EventView) error { shown("event", e, nil); return nil })
	shown("events", nil, err)
	err = p.Follow(ctx, b, "", func(e StatusEntry) error { shown("status", e, nil); return nil })
	shown("statuses", nil, err)
	state, err := p.ClusterState(ctx, testCluster)
	shown("cluster", state, err)
	x.mu.Lock()
	shown("proxies", x.got, nil)
	x.mu.Unlock()
	row, err := p.backend(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	p.log.Error("whatever somebody logs", "spec", row.Spec, "template", ofPassword, "credentials", ofPassword.Credentials)
	shown("log", log.text(), nil)
}
