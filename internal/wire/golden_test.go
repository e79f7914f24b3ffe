package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"plane"
)

var update = flag.Bool("update", false, "write the golden files")

const golden = "../../testdata/wire"

func ptr[T any](v T) *T { return &v }

// examples is one of each message with every field set, so that a renamed
// field can't hide.
var examples = func() []Message {
	node := Node{Protocol: Version, Version: "0.1.0", Hash: "abcdef12", Name: "dr-00000000000001", Cluster: "localhost:9090"}
	store := plane.StoreEpoch{StoreID: "st-1", Number: 2}
	epochs := plane.Epochs{4, 5, 6}
	key := plane.Key{Name: "doc-42", Namespace: "team", Tag: "blue"}
	spec := plane.Spec{
		ID: ptr("b1"), Cluster: ptr("localhost:9090"), Pool: "big", Executable: json.RawMessage(`{"command":["./board"]}`),
		LifetimeLimit: ptr(int32(3600)), MaxIdle: ptr(int32(300)), UseStaticToken: true, Subdomain: ptr("sub"),
		StartTimeout: ptr(int32(60)), StopGrace: ptr(int32(10)), Lease: plane.Fast,
		Data: plane.DataKeep, Access: plane.AccessToken, Host: plane.HostLocalhost, Ports: map[string]int{"metrics": 9100},
		Idle: []plane.Use{plane.UseRequests}, Egress: "none",
	}
	ended := plane.State{
		Status: plane.Terminated, LastStatus: plane.Ready, Termination: plane.Hard, Reason: plane.External,
		Exit: &plane.Exit{Code: ptr(137), Signal: "SIGKILL", OOM: true, Message: "killed", Fault: true, Output: "last line"},
	}
	ports := map[string]string{"metrics": "127.0.0.1:4001"}
	ready := plane.State{Status: plane.Ready, Address: "127.0.0.1:4000", Ports: ports}
	route := plane.Route{
		Pull:    &plane.Pull{Text: "pulling", Done: 10, Total: 100},
		Backend: "b1", Generation: plane.NewGeneration(2, 7), KeyHash: key.Hash(), Cluster: "localhost:9090", Subdomain: "sub",
		StaticHash: "00ff", Status: plane.Ready, Address: "127.0.0.1:4000", Ports: ports, App: "board", Access: plane.AccessToken, Host: plane.HostLocalhost,
		End: &plane.RouteEnd{Message: "Ended by itself, exit code 1.", Early: true, Output: "boom", Asked: true, Replaced: true}, Revocation: 3, Revoked: map[string]int64{"eve": 3}, Revision: 99,
	}
	keys := []TokenKey{{Number: 1, Secret: []byte("an example, not a secret"), ActiveMS: 1700000000000}}
	failure := &Error{Kind: plane.CrashLoop, Message: "It ends right after its starts.", Status: 503, RetryMS: 4000, Output: "boom"}
	use := Use{Backend: "b1", Plain: 1, Upgraded: 2, Opened: 30}
	return []Message{
		DroneHello{
			Node: node, Pool: "big", BootID: "boot-1", Warden: "w-1", Agent: "a-1", Runtimes: []string{"process"}, Commands: true, RuntimesMissing: map[string]string{"oci": "no crun or runc"},
			Address: "10.0.0.1:4433", SameHost: "host-1", Attempt: 41, Epochs: &epochs, Joins: true, Store: store,
			Inventory: []Held{{Backend: "b1", Key: key, Generation: route.Generation, Policy: plane.Fast, Epoch: 4, State: ready, App: "board", Release: 3, Volume: "vo-00000000000001", Spec: spec}},
		},
		DroneWelcome{Controller: "co-00000000000001", Version: "0.1.0", Store: store, Epochs: epochs, Attempt: 41, LeaseClock: true, Kill: []plane.BackendID{"b0"}},
		Renew{Number: 42, Epochs: epochs, Store: store},
		Renewed{Number: 42, Outcome: RenewalOK, Epochs: epochs, Store: store},
		Spawn{
			Action: "ak-00000000000001", Backend: "b1", Key: key, Generation: route.Generation, Cluster: "localhost:9090",
			Grant: plane.Grant{Policy: plane.Fast, Epoch: 4, Renewal: 42, Store: store}, App: "board", Release: 3, Spec: spec, StaticToken: "s.example",
			Volume: &Volume{ID: "vo-00000000000001", New: true}, RequestID: "r-1",
		},
		Terminate{Action: "ak-00000000000002", Backend: "b1", Policy: plane.Fast, Kind: plane.Soft, Reason: plane.External},
		Acted{Action: "ak-00000000000001", Backend: "b1", Refusal: plane.RefusedLate},
		Statuses{Reports: []Status{
			{Seq: 8, Backend: "b1", Generation: route.Generation, State: ready, AtMS: 1700000000000},
			{Seq: 9, Backend: "b1", Generation: route.Generation, State: ended, AtMS: 1700000001000},
		}},
		StatusDone{Seqs: []int64{8, 9}},
		Drain{On: true},
		IdleAsk{ID: 5, Backend: "b1"},
		IdleAnswer{ID: 5, Backend: "b1", Yes: true, Why: "hold export"},
		Telemetry{Backends: []Usage{{Backend: "b1", CPUMS: 12, Memory: 4096, Holds: []Hold{{Name: "export", Reason: "asked to", SecondsTo: 59}}, Data: 1 << 20, Warning: "listens on all interfaces", Commands: 2, Cache: 512, Pids: 3, In: 100, Out: 200, Disk: 4096}}, Host: &Host{CPUs: 2, CPUPercent: 12.5, Memory: 1 << 30, MemoryUsed: 1 << 29, Disk: 1 << 40, DiskUsed: 1 << 39, ImagesBytes: 1 << 20}},
		Progress{Backend: "b1", Text: "pulling", Done: 10, Total: 100},
		ExecAsk{ID: 11, Backend: "b1", Argv: []string{"sh"}, TTY: true, Rows: 24, Cols: 80, Actor: "operator"},
		ExecPart{ID: 11, Data: []byte("ls\n"), Stderr: true, EOF: true, Taken: 3, Rows: 30, Cols: 90, Kill: true, Exit: ptr(1), Error: "gone"},
		LogsAsk{ID: 6, Backend: "b1", Tail: 100, Follow: true},
		LogsStop{ID: 6},
		LogsPart{ID: 6, Data: []byte("a line\n"), EOF: true, Error: "gone"},
		ProxyHello{Node: node, Instance: "p-1", Open: []Use{use}},
		ProxyWelcome{Controller: "co-00000000000001", Version: "0.1.0", Store: store, Keys: keys, OldestKey: 1, StaticKey: []byte("static example"), Dev: true, Reload: true},
		Keys{Keys: keys, OldestKey: 1, StaticKey: []byte("static example")},
		KeysAsk{},
		RouteAsk{ID: 7, Backend: "b1", StaticHash: "00ff"},
		RouteAnswer{ID: 7, Backend: "b1", Route: &route, Error: failure},
		RouteUpdate{Route: route},
		RouteGone{Backend: "b1"},
		AppChanged{App: "board", Default: true},
		KeyAsk{ID: 8, Cluster: "localhost:9090", App: "board", Name: "doc-42", Visitor: &Visitor{Backend: "b0", User: ptr("eve"), Revocation: 2}, NoStart: true, RequestID: "r-1"},
		KeyAnswer{ID: 8, Key: key, Route: &route, Error: failure},
		Activity{Uses: []Use{use}},
		Quiesce{ID: 9, Backend: "b1", Opened: 30},
		Quiesced{ID: 9, Backend: "b1", Idle: true},
		Resume{Backend: "b1"},
		Goodbye{Reason: "leaving"},
		Discard{Action: "ak-00000000000003", Volume: "vo-00000000000001"},
		OverviewAsk{ID: 10},
		Overview{
			ID: 10, Apps: []OverviewApp{{Name: "board", Default: true, Runs: "./board", Release: 3}},
			Backends: []OverviewBackend{{Key: key, App: "board", Backend: "b1", Status: plane.Ready, SinceMS: 1700000000000, Connections: 3, Memory: 4096, End: "Ended by itself."}},
			Total:    1, Error: failure,
		},
	}
}()

func TestGoldenFiles(t *testing.T) {
	files := map[string]bool{}
	for _, m := range examples {
		path := filepath.Join(golden, m.kind()+".json")
		files[path] = true
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, b, "", "  "); err != nil {
			t.Fatalf("%s is no JSON: %v", b, err)
		}
		pretty.WriteByte('\n')
		if *update {
			if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v; run: go test ./internal/wire -update", err)
		}
		if !bytes.Equal(pretty.Bytes(), want) {
			t.Errorf("%s reads\n%s\nnow it is\n%s\nA change that older peers can't ignore needs another Version.", path, want, pretty.Bytes())
		}
		got, err := Decode(compact(t, want))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s is read as %+v, %v", path, got, err)
		}
	}
	there, err := filepath.Glob(filepath.Join(golden, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if !files[path] {
			t.Errorf("%s is no message", path)
		}
	}
}

// compact takes the spaces out, which a RawMessage would keep.
func compact(t *testing.T, b []byte) []byte {
	t.Helper()
	var c bytes.Buffer
	if err := json.Compact(&c, b); err != nil {
		t.Fatal(err)
	}
	return c.Bytes()
}

func TestEveryMessageHasAnExampleAndALineInTheDocs(t *testing.T) {
	docs, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, m := range examples {
		kinds = append(kinds, m.kind())
		checkSet(t, m.kind(), reflect.ValueOf(m))
	}
	for _, kind := range slices.Sorted(maps.Keys(decoders)) {
		if !slices.Contains(kinds, kind) {
			t.Errorf("%s has no example", kind)
		}
		if !strings.Contains(string(docs), "`"+kind+"`") {
			t.Errorf("docs/PROTOCOL.md doesn't name %s", kind)
		}
	}
	if len(kinds) != len(decoders) {
		t.Errorf("%d examples for %d messages", len(kinds), len(decoders))
	}
}

// checkSet fails for a field of an example that says nothing.
func checkSet(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		if strings.HasSuffix(path, ".State") {
			return // a status has some of its fields only
		}
		for i := range v.NumField() {
			checkSet(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Pointer:
		if v.IsNil() {
			t.Errorf("%s of the example is not set", path)
			return
		}
		checkSet(t, path, v.Elem())
	case reflect.Slice:
		if v.Len() == 0 {
			t.Errorf("%s of the example is empty", path)
		}
		for i := range v.Len() {
			if v.Index(i).Kind() == reflect.Struct {
				checkSet(t, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
			}
		}
	default:
		if v.IsZero() {
			t.Errorf("%s of the example is not set", path)
		}
	}
}

func TestUnknownTypesAndFieldsAreIgnored(t *testing.T) {
	if m, err := Decode([]byte(`{"type":"of_tomorrow","body":{"a":1}}`)); m != nil || err != nil {
		t.Errorf("%v, %v", m, err)
	}
	m, err := Decode([]byte(`{"type":"resume","of":"tomorrow","body":{"backend":"b1","more":[]}}`))
	if want := (Resume{Backend: "b1"}); err != nil || m != want {
		t.Errorf("%v, %v; want %v", m, err, want)
	}
}

func TestWhatIsNoMessageIsAnError(t *testing.T) {
	for _, s := range []string{``, `{`, `[]`, `{"type":1}`, `{"type":"renew"}`, `{"type":"renew","body":[]}`, `{"type":"renew","body":{"number":"x"}}`} {
		if m, err := Decode([]byte(s)); err == nil {
			t.Errorf("%q is read as %#v", s, m)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	hush := []byte("hush")
	k := TokenKey{Number: 1, Secret: hush}
	spec := plane.Spec{Executable: json.RawMessage(`{"env":{"PASSWORD":"hush"}}`)}
	for _, m := range []any{
		k, &k,
		Keys{Keys: []TokenKey{k}, StaticKey: hush},
		ProxyWelcome{Keys: []TokenKey{k}, StaticKey: hush},
		Spawn{StaticToken: "hush", Spec: spec},
		DroneHello{Inventory: []Held{{Spec: spec}}},
		Held{Spec: spec},
	} {
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "m", m)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "m", m)
		for _, verb := range []string{"%v", "%+v", "%s"} {
			fmt.Fprintf(&out, verb, m)
		}
		for _, form := range []string{"hush", "104 117 115 104", base64.StdEncoding.EncodeToString(hush)} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%T is shown as %s", m, out.String())
			}
		}
	}
}

// FuzzDecode: what is read is written the same again.
func FuzzDecode(f *testing.F) {
	for _, m := range examples {
		b, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil || m == nil {
			return
		}
		once, err := Encode(m)
		if err != nil {
			t.Skip() // e.g. a RawMessage that is absent
		}
		n, err := Decode(once)
		if err != nil {
			t.Fatalf("%s was read, %s isn't: %v", b, once, err)
		}
		twice, err := Encode(n)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
	})
}
