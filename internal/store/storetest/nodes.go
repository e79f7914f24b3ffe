package storetest

import (
	"time"

	"plane"
	"plane/internal/store"
)

func drone(name string, cluster plane.ClusterName) store.Drone {
	return store.Drone{
		Name: plane.NodeName(name), Cluster: cluster, Pool: "p", Version: "1", Hash: "h", Address: "127.0.0.1:1",
		Runtimes: []string{"process", "docker"}, Commands: true, BootID: "boot", Warden: "w", Agent: "ag-" + name,
		Controller: "co-1", Connection: 5, FirstSeen: day,
		Epochs: plane.Epochs{3, 3, 3}, RenewedAt: day, Renewal: 10, Store: plane.StoreEpoch{StoreID: "s", Number: 1},
	}
}

func put(drones ...store.Drone) func(store.Tx) error {
	return func(tx store.Tx) error {
		for _, n := range drones {
			if err := tx.PutDrone(n); err != nil {
				return err
			}
		}
		return nil
	}
}

func getDrone(d db, name string) store.Drone {
	d.Helper()
	return look(d, func(tx store.Tx) (store.Drone, error) { return tx.Drone(plane.NodeName(name)) })
}

func testDrones(d db) {
	d.wants(store.ErrNotFound, "unknown drone", func(tx store.Tx) error { _, err := tx.Drone("dr-1"); return err })
	one, two, other := drone("dr-1", "a.example"), drone("dr-2", "a.example"), drone("dr-3", "b.example")
	two.FirstSeen = day.Add(-time.Hour)
	two.Runtimes, two.Draining = nil, true
	d.do(put(one, two, other))
	same(d, "drone", getDrone(d, "dr-1"), one)
	same(d, "drone", getDrone(d, "dr-2"), two)
	list := func(c plane.ClusterName) []store.Drone {
		return look(d, func(tx store.Tx) ([]store.Drone, error) { return tx.Drones(c) })
	}
	same(d, "drones of a cluster, by first sight", list("a.example"), []store.Drone{two, one})
	same(d, "drones of all", list(""), []store.Drone{two, one, other})
	same(d, "drones of none", len(list("c.example")), 0)

	again := store.Drone{
		Name: "dr-1", Cluster: "c.example", Pool: "q", Version: "2", Hash: "i", Address: "127.0.0.1:2", Runtimes: []string{"oci"},
		BootID: "boot2", Warden: "w2", Agent: "ag2", Controller: "co-2", Connection: 6,
		Draining: true, FirstSeen: day.Add(time.Hour), Epochs: plane.Epochs{9, 9, 9}, RenewedAt: day.Add(time.Hour), Renewal: 99,
		Store: plane.StoreEpoch{StoreID: "z", Number: 9},
	}
	d.do(put(again))
	want := again
	want.Draining, want.FirstSeen, want.Epochs, want.RenewedAt, want.Renewal, want.Store = false, one.FirstSeen, one.Epochs, one.RenewedAt, one.Renewal, one.Store
	same(d, "drone put again", getDrone(d, "dr-1"), want)

	drain := func(on bool) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.SetDraining("dr-3", on) })
	}
	same(d, "drain", drain(true), true)
	same(d, "drain again", drain(true), false)
	same(d, "draining", getDrone(d, "dr-3").Draining, true)
	same(d, "undrain", drain(false), true)
	same(d, "undrain again", drain(false), false)
	d.wants(store.ErrNotFound, "drain an unknown one", func(tx store.Tx) error { _, err := tx.SetDraining("dr-7", true); return err })

	e := plane.StoreEpoch{StoreID: "s", Number: 7}
	d.do(func(tx store.Tx) error { return tx.ConfirmStore("dr-3", e) })
	same(d, "confirmed", getDrone(d, "dr-3").Store, e)
	d.wants(store.ErrNotFound, "confirm of an unknown one", func(tx store.Tx) error { return tx.ConfirmStore("dr-7", e) })

	d.do(func(tx store.Tx) error { return tx.DeleteDrone("dr-3") })
	d.wants(store.ErrNotFound, "deleted drone", func(tx store.Tx) error { _, err := tx.Drone("dr-3"); return err })
	d.do(func(tx store.Tx) error { return tx.DeleteDrone("dr-3") })
}

func testRenew(d db) {
	d.do(put(drone("dr-1", "a.example"), drone("dr-2", "a.example")))
	before := getDrone(d, "dr-1")
	for _, c := range []struct {
		what   string
		agent  string
		number int64
		epochs plane.Epochs
	}{
		{"of another agent", "ag-dr-2", 11, before.Epochs},
		{"with the last number", "ag-dr-1", 10, before.Epochs},
		{"with an older number", "ag-dr-1", 9, before.Epochs},
		{"of an ended fast epoch", "ag-dr-1", 11, plane.Epochs{2, 3, 3}},
		{"of an ended balanced epoch", "ag-dr-1", 11, plane.Epochs{3, 2, 3}},
		{"of an ended sticky epoch", "ag-dr-1", 11, plane.Epochs{3, 3, 2}},
		{"of an epoch to come", "ag-dr-1", 11, plane.Epochs{3, 4, 3}},
	} {
		ok := change(d, func(tx store.Tx) (bool, error) { return tx.Renew("dr-1", c.agent, c.number, c.epochs) })
		same(d, "renewal "+c.what, ok, false)
	}
	same(d, "renewal of an unknown drone", change(d, func(tx store.Tx) (bool, error) { return tx.Renew("dr-7", "", 11, before.Epochs) }), false)
	same(d, "lease after refused renewals", getDrone(d, "dr-1"), before)

	var now time.Time
	ok := false
	err := d.store.Urgent(d.Context(), func(tx store.Tx) (err error) {
		now = tx.Now()
		ok, err = tx.Renew("dr-1", "ag-dr-1", 12, before.Epochs)
		return err
	})
	if err != nil {
		d.Fatal(err)
	}
	same(d, "renewal", ok, true)
	want := before
	want.RenewedAt, want.Renewal = now, 12
	same(d, "renewed lease", getDrone(d, "dr-1"), want)
	same(d, "the neighbour's lease", getDrone(d, "dr-2"), drone("dr-2", "a.example"))
}

func testRaiseEpoch(d db) {
	now := look(d, func(tx store.Tx) (time.Time, error) { return tx.Now(), nil })
	one := drone("dr-1", "a.example")
	one.RenewedAt = now.Add(-time.Minute)
	d.do(put(one, drone("dr-2", "a.example")))
	raise := func(p plane.Policy, epoch int64, after time.Duration) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.RaiseEpoch("dr-1", p, epoch, after) })
	}
	same(d, "lapse before its time", raise(plane.Balanced, 3, time.Hour), false)
	same(d, "an epoch that isn't current", raise(plane.Balanced, 2, time.Second), false)
	same(d, "an epoch to come", raise(plane.Balanced, 4, 0), false)
	same(d, "epochs so far", getDrone(d, "dr-1").Epochs, plane.Epochs{3, 3, 3})
	same(d, "lapse", raise(plane.Balanced, 3, 30*time.Second), true)
	same(d, "the same lapse again", raise(plane.Balanced, 3, 30*time.Second), false)
	same(d, "epochs", getDrone(d, "dr-1").Epochs, plane.Epochs{3, 4, 3})
	same(d, "join", raise(plane.Fast, 3, 0), true)
	same(d, "sticky", raise(plane.Sticky, 3, 0), true)
	want := one
	want.Epochs = plane.Epochs{4, 4, 4}
	same(d, "the drone", getDrone(d, "dr-1"), want)
	same(d, "the neighbour", getDrone(d, "dr-2"), drone("dr-2", "a.example"))
	same(d, "an unknown drone", change(d, func(tx store.Tx) (bool, error) { return tx.RaiseEpoch("dr-7", plane.Fast, 0, 0) }), false)
	if err := d.store.Update(d.Context(), func(tx store.Tx) error {
		_, err := tx.RaiseEpoch("dr-1", "slow", 4, 0)
		return err
	}); err == nil {
		d.Error("an unknown policy was accepted")
	}

	// A renewal between a controller's read and its write saves the lease.
	d.do(func(tx store.Tx) error {
		ok, err := tx.Renew("dr-1", one.Agent, 11, plane.Epochs{4, 4, 4})
		if err == nil && !ok {
			d.Error("not renewed")
		}
		return err
	})
	same(d, "lapse after a renewal", raise(plane.Balanced, 4, 30*time.Second), false)
}

// testDisconnect is trap 17.
func testDisconnect(d db) {
	p := store.Proxy{Name: "px-1", Cluster: "a.example", Controller: "co-1", Connection: 5, SeenAt: day}
	q := p
	q.Name = "px-2"
	d.do(put(drone("dr-1", "a.example"), drone("dr-2", "a.example")))
	d.do(func(tx store.Tx) error { return tx.PutProxy(p) })
	d.do(func(tx store.Tx) error { return tx.PutProxy(q) })
	leave := func(n int64) {
		d.do(func(tx store.Tx) error { return tx.DisconnectDrone("dr-1", n) })
		d.do(func(tx store.Tx) error { return tx.DisconnectProxy("px-1", n) })
	}
	controllers := func() (s string) {
		for _, n := range look(d, func(tx store.Tx) ([]store.Drone, error) { return tx.Drones("") }) {
			s += string(n.Controller) + " "
		}
		for _, n := range look(d, func(tx store.Tx) ([]store.Proxy, error) { return tx.Proxies("") }) {
			s += string(n.Controller) + " "
		}
		return s
	}
	leave(4)
	leave(6)
	same(d, "after the end of other connections", controllers(), "co-1 co-1 co-1 co-1 ")
	leave(5)
	same(d, "after the end of this connection", controllers(), " co-1  co-1 ")
	d.do(func(tx store.Tx) error { return tx.DisconnectDrone("dr-7", 1) })
	d.do(func(tx store.Tx) error { return tx.DisconnectProxy("px-7", 1) })
}

func testOtherNodes(d db) {
	one := store.Proxy{Name: "px-1", Cluster: "a.example", Version: "1", Hash: "h", Instance: "i", Controller: "co-1", Connection: 1, SeenAt: day}
	two := store.Proxy{Name: "px-2", Cluster: "b.example", SeenAt: day.Add(time.Hour)}
	three := store.Proxy{Name: "px-3", Cluster: "a.example", SeenAt: day.Add(2 * time.Hour)}
	for _, p := range []store.Proxy{three, two, one} {
		d.do(func(tx store.Tx) error { return tx.PutProxy(p) })
	}
	list := func(c plane.ClusterName) []store.Proxy {
		return look(d, func(tx store.Tx) ([]store.Proxy, error) { return tx.Proxies(c) })
	}
	same(d, "proxies of a cluster", list("a.example"), []store.Proxy{one, three})
	same(d, "proxies of all", list(""), []store.Proxy{one, two, three})
	one.Version, one.Hash, one.Instance, one.Controller, one.Connection, one.SeenAt = "2", "g", "j", "co-2", 2, day.Add(time.Minute)
	d.do(func(tx store.Tx) error { return tx.PutProxy(one) })
	same(d, "proxy put again", list("")[0], one)
	del := func(before time.Time, limit int) int {
		return change(d, func(tx store.Tx) (int, error) { return tx.DeleteProxies(before, limit) })
	}
	same(d, "proxies deleted too early", del(day, 10), 0)
	same(d, "proxies deleted, limit 1", del(day.Add(2*time.Hour), 1), 1)
	same(d, "proxies left", list(""), []store.Proxy{two, three})
	same(d, "proxies deleted", del(day.Add(2*time.Hour), 10), 1)
	same(d, "proxies left", list(""), []store.Proxy{three})

	a, b := store.ControllerNode{Name: "co-1", Online: true, SeenAt: day}, store.ControllerNode{Name: "co-2", SeenAt: day}
	for _, c := range []store.ControllerNode{b, a} {
		d.do(func(tx store.Tx) error { return tx.PutController(c) })
	}
	same(d, "controllers", look(d, store.Tx.Controllers), []store.ControllerNode{a, b})
	a.Online, a.SeenAt = false, day.Add(time.Hour)
	d.do(func(tx store.Tx) error { return tx.PutController(a) })
	same(d, "controllers", look(d, store.Tx.Controllers), []store.ControllerNode{a, b})
	del = func(before time.Time, limit int) int {
		return change(d, func(tx store.Tx) (int, error) { return tx.DeleteControllers(before, limit) })
	}
	same(d, "controllers deleted too early", del(day, 10), 0)
	same(d, "controllers deleted, limit 1", del(day.Add(2*time.Hour), 1), 1)
	same(d, "controllers left", look(d, store.Tx.Controllers), []store.ControllerNode{a})
}
