package clustertest

import (
	"cmp"
	"net"
	"net/http"
	"time"
)

// Apart is a cluster whose parts are processes of this machine.
type Apart struct {
	Controller, Drone, ProxyPart *Part

	News *Relay // between proxy and controller

	API     string // http://127.0.0.1:PORT
	Proxy   string // 127.0.0.1:PORT, to dial
	DataDir string // with the directories controller and drone
}

// FreePort is one of 127.0.0.1 that nobody listens on now.
func FreePort(t TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// WithAdmin is where the parts have their admin listeners.
type WithAdmin struct{ Controller, Drone, Proxy string }

// OfDrone is what a drone is given beside the usual.
type OfDrone struct {
	Runtimes string   // "" = process
	Flags    []string // further ones
	Env      []string // beside the test's own
}

func adminEnv(addr string) []string {
	if addr == "" {
		return nil
	}
	return []string{"PLANE_ADMIN=" + addr}
}

// StartApart starts them and waits until they take a start.
func StartApart(t TB, with ...WithAdmin) *Apart {
	t.Helper()
	var w WithAdmin
	if len(with) > 0 {
		w = with[0]
	}
	return startApart(t, w, OfDrone{})
}

func startApart(t TB, w WithAdmin, of OfDrone) *Apart {
	t.Helper()
	a := &Apart{DataDir: t.TempDir()}
	apiPort, proxyPort := FreePort(t), FreePort(t)
	a.API, a.Proxy = "http://127.0.0.1:"+apiPort, "127.0.0.1:"+proxyPort
	cluster := "localhost:" + proxyPort
	a.Controller = Start(t, t.TempDir(), adminEnv(w.Controller), "controller", "--insecure", "--host", "127.0.0.1", "--port", apiPort,
		"--db", "sqlite:"+a.DataDir+"/controller/plane.db", "--data-dir", a.DataDir+"/controller", "--default-cluster", cluster)
	a.AwaitHealth(t)
	a.News = StartRelay(t, "127.0.0.1:"+apiPort)
	a.ProxyPart = Start(t, t.TempDir(), adminEnv(w.Proxy), "proxy", "--insecure", "--controller-url", "http://"+a.News.Addr, "--cluster", cluster, "--http-port", proxyPort)
	args := []string{"drone", "--insecure", "--controller-url", a.API, "--cluster", cluster, "--data-dir", a.DataDir + "/drone", "--runtimes", cmp.Or(of.Runtimes, "process")}
	a.Drone = Start(t, t.TempDir(), append(adminEnv(w.Drone), of.Env...), append(args, of.Flags...)...)
	a.AwaitDrone(t)
	return a
}

// AwaitHealth waits until the controller serves.
func (a *Apart) AwaitHealth(t TB) {
	t.Helper()
	await(t, 20*time.Second, "controller serves", func() bool {
		resp, err := http.Get(a.API + "/pub/health")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// AwaitDrone waits until the drone takes a start.
func (a *Apart) AwaitDrone(t TB) {
	t.Helper()
	await(t, 20*time.Second, "drone takes a start", func() bool {
		c, err := connect(a.API, "probe", Build(t).Echo)
		if err != nil {
			return false
		}
		terminate(a.API, c.BackendID)
		return true
	})
}

func await(t TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", d, what)
}
