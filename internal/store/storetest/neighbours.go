package storetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"plane"
	"plane/internal/store"
)

// testNeighbours is trap 25: in a store full of look-alikes every writing
// method must change what it names and nothing else. The whole store is read
// before and after.
func testNeighbours(d db) {
	d.do(fill)
	next := plane.State{Status: plane.Waiting, Address: "127.0.0.1:9"}
	future := day.AddDate(100, 0, 0)
	for _, c := range []struct {
		what    string
		do      func(tx store.Tx) error
		changes string // what of dump differs, sorted
	}{
		{"SetMeta", func(tx store.Tx) error { return tx.SetMeta("a", "new") }, "meta/a"},
		{"NextGeneration", func(tx store.Tx) error { _, err := tx.NextGeneration(); return err }, ""},
		{"RaiseStoreEpoch", func(tx store.Tx) error { _, err := tx.RaiseStoreEpoch(3); return err }, "epoch"},
		{"InsertKey", func(tx store.Tx) error { return tx.InsertKey(key("new", "b-1")) }, "key//new"},
		{"DeleteKey of another backend", func(tx store.Tx) error { _, err := tx.DeleteKey("", "doc", "b-2"); return err }, ""},
		{"DeleteKey", func(tx store.Tx) error { _, err := tx.DeleteKey("", "doc", "b-1"); return err }, "key//doc"},
		{"SetCrash", func(tx store.Tx) error { return tx.SetCrash("x", "doc", store.Crash{Count: 9}) }, "crash/x/doc"},
		{"SetCrash to nothing", func(tx store.Tx) error { return tx.SetCrash("x", "doc", store.Crash{}) }, "crash/x/doc"},
		{"ForgetCrashes", func(tx store.Tx) error { return tx.ForgetCrashes("x") }, "crash/x/dock"},
		{"InsertBackend", insert(backend("b-9", "x", "doc", "dr-2", 9)), "backend/b-9 history/b-9 live/dr-2"},
		{"RecordState", func(tx store.Tx) error { return recordState(tx, "b-2", next) }, "backend/b-2 history/b-2"},
		{"RecordState of a late status", func(tx store.Tx) error {
			_, err := tx.RecordState("b-1", plane.State{Status: plane.Loading}, day)
			return err
		}, ""},
		{"RecordState of an end", func(tx store.Tx) error { return record(tx, "b-2", plane.Terminated, day) }, "backend/b-2 history/b-2 live/dr-1"},
		{"Revoke", func(tx store.Tx) error { _, err := tx.Revoke("b-1", "ann"); return err }, "backend/b-1 revoked/b-1"},
		{"DeleteEnded", func(tx store.Tx) error { _, err := tx.DeleteEnded(day, 10); return err }, "action/ak-0 backend/b-0 history/b-0 revoked/b-0"},
		{"PutDrone", func(tx store.Tx) error { n := drone("dr-2", "a.example"); n.Pool = "new"; return tx.PutDrone(n) }, "drone/dr-2"},
		{"PutDrone, a new one", func(tx store.Tx) error { return tx.PutDrone(drone("dr-9", "a.example")) }, "drone/dr-9"},
		{"DisconnectDrone", func(tx store.Tx) error { return tx.DisconnectDrone("dr-1", 5) }, "drone/dr-1"},
		{"SetDraining", func(tx store.Tx) error { _, err := tx.SetDraining("dr-2", true); return err }, "drone/dr-2"},
		{"Renew", func(tx store.Tx) error { _, err := tx.Renew("dr-2", "ag-dr-2", 11, plane.Epochs{3, 3, 3}); return err }, "drone/dr-2"},
		{"RaiseEpoch", func(tx store.Tx) error { _, err := tx.RaiseEpoch("dr-1", plane.Fast, 3, time.Second); return err }, "drone/dr-1"},
		{"ConfirmStore", func(tx store.Tx) error {
			return tx.ConfirmStore("dr-1", plane.StoreEpoch{StoreID: "t", Number: 2})
		}, "drone/dr-1"},
		{"DeleteDrone", func(tx store.Tx) error { return tx.DeleteDrone("dr-2") }, "drone/dr-2"},
		{"PutProxy", func(tx store.Tx) error {
			return tx.PutProxy(store.Proxy{Name: "px-2", Cluster: "a.example", Instance: "new", Controller: "co-1", Connection: 5, SeenAt: day})
		}, "proxy/px-2"},
		{"DisconnectProxy", func(tx store.Tx) error { return tx.DisconnectProxy("px-1", 5) }, "proxy/px-1"},
		{"DeleteProxies", func(tx store.Tx) error { _, err := tx.DeleteProxies(future, 1); return err }, "proxy/px-1"},
		{"PutController", func(tx store.Tx) error {
			return tx.PutController(store.ControllerNode{Name: "co-1", SeenAt: future})
		}, "controller/co-1"},
		{"DeleteControllers", func(tx store.Tx) error { _, err := tx.DeleteControllers(day.Add(time.Second), 1); return err }, "controller/co-2"},
		{"InsertAction", func(tx store.Tx) error {
			return tx.InsertAction(store.Action{ID: "ak-9", Drone: "dr-1", Backend: "b-1"})
		}, "action/ak-9"},
		{"DeleteAction", func(tx store.Tx) error { _, err := tx.DeleteAction("ak-2"); return err }, "action/ak-2"},
		{"InsertEvent", func(tx store.Tx) error { return tx.InsertEvent(store.Event{Kind: "new"}) }, "event/new"},
		{"DeleteEvents", func(tx store.Tx) error { _, err := tx.DeleteEvents(future, 1); return err }, "event/one"},
		{"InsertAPIKey", func(tx store.Tx) error { return tx.InsertAPIKey(store.APIKey{ID: "ap-9", Hash: []byte{9}}) }, "api-key/ap-9"},
		{"DeleteAPIKey", func(tx store.Tx) error { _, err := tx.DeleteAPIKey("ap-1"); return err }, "api-key/ap-1"},
		{"InsertTokenKey", func(tx store.Tx) error {
			return tx.InsertTokenKey("b.example", store.TokenKey{Number: 9})
		}, "token-key/b.example/9"},
		{"DeleteTokenKey", func(tx store.Tx) error { return tx.DeleteTokenKey("a.example", 1) }, "token-key/a.example/1"},
		{"PutApp", func(tx store.Tx) error { return tx.PutApp("board", 1) }, "app/board"},
		{"InsertRelease", func(tx store.Tx) error { _, err := release(tx, "board", "./new"); return err }, "release/board/3"},
		{"DeleteReleases", func(tx store.Tx) error { _, err := tx.DeleteReleases("boar", 9, 9); return err }, "release/boar/1"},
		{"InsertVolume", func(tx store.Tx) error { return tx.InsertVolume(volume("v-9", "x", "new", 1)) }, "volume/v-9"},
		{"AttachVolume", func(tx store.Tx) error { _, err := tx.AttachVolume("v-1", 9); return err }, "volume/v-1"},
		{"AttachVolume of an earlier generation", func(tx store.Tx) error { _, err := tx.AttachVolume("v-2", 1); return err }, ""},
		{"MakeVolume", func(tx store.Tx) error { return tx.MakeVolume("v-2") }, "volume/v-2"},
		{"DeleteVolume", func(tx store.Tx) error { _, err := tx.DeleteVolume("v-2"); return err }, "volume/v-2"},
		{"DeleteCrashes", func(tx store.Tx) error { _, err := tx.DeleteCrashes(future, 1); return err }, "crash//doc"},
	} {
		before := look(d, dump)
		d.do(c.do)
		after := look(d, dump)
		if got := differences(before, after); got != c.changes {
			d.Errorf("%s changed %q, want %q", c.what, got, c.changes)
		}
	}
}

func recordState(tx store.Tx, id plane.BackendID, s plane.State) error {
	_, err := tx.RecordState(id, s, day)
	return err
}

var (
	neighbourKeys     = []plane.Key{{Name: "doc"}, {Namespace: "x", Name: "doc"}, {Namespace: "x", Name: "dock"}, {Name: "dock"}, {Name: "new"}}
	neighbourDrones   = []plane.NodeName{"dr-1", "dr-2", "dr-3", "dr-9"}
	neighbourClusters = []plane.ClusterName{"a.example", "b.example"}
)

// fill makes the look-alikes: the same names in two namespaces, drones, proxies
// and token keys of two clusters, backends of every age.
func fill(tx store.Tx) error {
	old := backend("b-0", "", "doc", "dr-1", 0)
	steps := []func() error{
		func() error { return insert(old)(tx) },
		func() error { _, err := tx.Revoke("b-0", "ann"); return err },
		func() error { return record(tx, "b-0", plane.Terminated, day.Add(-time.Hour)) },
		func() error {
			return put(drone("dr-1", "a.example"), drone("dr-2", "a.example"), drone("dr-3", "b.example"))(tx)
		},
	}
	for i, k := range neighbourKeys[:4] {
		id := fmt.Sprint("b-", i+1)
		b := backend(id, k.Namespace, k.Name, string(neighbourDrones[i%3]), int64(i+1))
		if i == 1 {
			b.Drone = "dr-1"
		}
		steps = append(steps,
			func() error { return insert(b)(tx) },
			func() error { return tx.InsertKey(store.Key{Key: k, Backend: b.ID, Generation: b.Generation}) },
			func() error { return tx.SetCrash(k.Namespace, k.Name, store.Crash{Count: i + 1, Last: day}) },
		)
	}
	for i := range 4 {
		steps = append(steps, func() error {
			return tx.InsertAction(store.Action{
				ID: fmt.Sprint("ak-", i), Drone: neighbourDrones[i%3], Backend: plane.BackendID(fmt.Sprint("b-", i)), CreatedAt: day,
			})
		})
	}
	steps = append(steps,
		func() error { return record(tx, "b-1", plane.Ready, day) },
		func() error { _, err := tx.Revoke("b-2", "ann"); return err },
	)
	for i, kind := range []string{"one", "two"} {
		n := fmt.Sprint(i + 1)
		steps = append(steps,
			func() error { return tx.InsertEvent(store.Event{Kind: kind}) },
			func() error {
				return tx.PutProxy(store.Proxy{
					Name: plane.NodeName("px-" + n), Cluster: neighbourClusters[i], Controller: "co-1", Connection: 5,
					SeenAt: day.Add(time.Duration(i) * time.Second),
				})
			},
			func() error {
				return tx.PutController(store.ControllerNode{Name: plane.NodeName("co-" + n), Online: true, SeenAt: day})
			},
			func() error { return tx.InsertAPIKey(store.APIKey{ID: "ap-" + n, Hash: []byte{byte(i)}}) },
			func() error { return tx.InsertTokenKey(neighbourClusters[i], store.TokenKey{Number: 1}) },
			func() error { return tx.InsertTokenKey(neighbourClusters[i], store.TokenKey{Number: 2}) },
			func() error { return tx.SetMeta(string(rune('a'+i)), "old") },
		)
	}
	for i, app := range []string{"boar", "board"} {
		steps = append(steps, func() error { return applied(tx, app, "./1") }, func() error { return applied(tx, app, "./2") },
			func() error {
				v := volume(fmt.Sprint("v-", i+1), []string{"", "x"}[i], "doc", 2)
				return tx.InsertVolume(v)
			})
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// dump is all that can be seen of the store, by name.
func dump(tx store.Tx) (map[string]string, error) {
	all := map[string]string{}
	var failed error
	note := func(name string, v any, err error) {
		text, e := json.Marshal(v)
		if err == nil {
			err = e
		}
		switch {
		case err == nil:
			all[name] = string(text)
		case err != store.ErrNotFound && failed == nil:
			failed = fmt.Errorf("%s: %w", name, err)
		}
	}
	epoch, err := tx.StoreEpoch()
	note("epoch", epoch, err)
	for _, name := range []string{"a", "b"} {
		v, err := tx.Meta(name)
		note("meta/"+name, v, err)
	}
	for _, k := range neighbourKeys {
		row, err := tx.Key(k.Namespace, k.Name)
		note("key/"+k.Namespace+"/"+k.Name, row, err)
		crash, err := tx.Crash(k.Namespace, k.Name)
		note("crash/"+k.Namespace+"/"+k.Name, crash, err)
	}
	backends, err := tx.Backends(store.Filter{})
	note("backends", nil, err)
	for _, b := range backends {
		note("backend/"+string(b.ID), b, nil)
		steps, err := tx.History(b.ID)
		note("history/"+string(b.ID), steps, err)
		if revoked, err := tx.Revoked(b.ID); err != nil || len(revoked) > 0 {
			note("revoked/"+string(b.ID), revoked, err)
		}
	}
	for _, name := range neighbourDrones {
		n, err := tx.Drone(name)
		note("drone/"+string(name), n, err)
		live, err := tx.CountLive(name)
		note("live/"+string(name), live, err)
		actions, _, err := tx.Actions(name, 0, 0)
		note("actions", nil, err)
		for _, a := range actions {
			note("action/"+a.ID, a, nil)
		}
	}
	proxies, err := tx.Proxies("")
	note("proxies", nil, err)
	for _, p := range proxies {
		note("proxy/"+string(p.Name), p, nil)
	}
	controllers, err := tx.Controllers()
	note("controllers", nil, err)
	for _, c := range controllers {
		note("controller/"+string(c.Name), c, nil)
	}
	events, err := tx.Events(0, 0)
	note("events", nil, err)
	for _, e := range events {
		note("event/"+e.Kind, e, nil)
	}
	keys, err := tx.APIKeys()
	note("api-keys", nil, err)
	for _, k := range keys {
		note("api-key/"+k.ID, k, nil)
	}
	apps, err := tx.Apps()
	note("apps", nil, err)
	for _, a := range apps {
		note("app/"+a.Name, a, nil)
		releases, err := tx.Releases(a.Name, 0)
		note("releases", nil, err)
		for _, r := range releases {
			note(fmt.Sprintf("release/%s/%d", a.Name, r.Number), r, nil)
		}
	}
	volumes, err := tx.Volumes(nil, "", "", 0)
	note("volumes", nil, err)
	for _, v := range volumes {
		note("volume/"+v.ID, v, nil)
	}
	for _, c := range neighbourClusters {
		keys, err := tx.TokenKeys(c)
		note("token-keys", nil, err)
		for _, k := range keys {
			note(fmt.Sprintf("token-key/%s/%d", c, k.Number), k, nil)
		}
	}
	return all, failed
}

func differences(a, b map[string]string) string {
	names := map[string]bool{}
	for n := range maps.Keys(a) {
		names[n] = a[n] != b[n]
	}
	for n := range maps.Keys(b) {
		names[n] = a[n] != b[n]
	}
	var differ []string
	for n, d := range names {
		if d {
			differ = append(differ, n)
		}
	}
	slices.Sort(differ)
	return strings.Join(differ, " ")
}
