package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/client"
)

// restartable fixes the ports of a `plane dev`, so that after a restart it
// stands where it stood.
func (d *Dev) restartable() {
	for i, a := range d.Args {
		switch a {
		case "--api":
			d.Args[i+1] = hostPort(d.API)
		case "--proxy":
			d.Args[i+1] = d.Proxy
		}
	}
}

// visitor is a Go program with a socket that comes back.
type visitor struct {
	t       *testing.T
	session *client.Session
	socket  *client.Socket
	ended   chan error

	mu  sync.Mutex // guards log
	log []string
}

func visit(t *testing.T, d *Dev, key string) *visitor {
	t.Helper()
	c, err := client.New(d.API, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dialled := func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, port, _ := net.SplitHostPort(address); port != "" {
			address = net.JoinHostPort("127.0.0.1", port) // whatever the name
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	ask := c.Asking(client.ConnectRequest{Key: &plane.Key{Name: key}, Spawn: &plane.Spec{}})
	v := &visitor{t: t, ended: make(chan error, 1)}
	if v.session, err = client.NewSession(t.Context(), ask, client.SessionOptions{Dial: dialled}); err != nil {
		t.Fatal(err)
	}
	v.socket = v.session.Socket("ws", client.SocketOptions{
		OnMessage:    func(m client.Message) { v.note(string(m.Data)) },
		OnGeneration: func(now, before plane.Generation) { v.note(fmt.Sprint("new state: ", now > before)) },
	})
	go func() { v.ended <- v.socket.Run(t.Context()) }()
	t.Cleanup(func() {
		v.socket.Close()
		select {
		case err := <-v.ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run doesn't end")
		}
		v.session.Close()
	})
	return v
}

func (v *visitor) note(s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.log = append(v.log, s)
}

func (v *visitor) say(text string) {
	v.t.Helper()
	if err := v.socket.Send(v.t.Context(), client.Message{Data: []byte(text), Text: true}); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) await(want ...string) {
	v.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-tick.C {
		v.mu.Lock()
		got := slices.Clone(v.log)
		v.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			v.t.Fatalf("has %q, want %q", got, want)
		}
	}
}

func TestAGoSocketComesBackToANewStateAndSaysSo(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	v := visit(t, d, "killed")
	v.say("one")
	v.await("one")
	if err := syscall.Kill(d.state("killed").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	v.await("one", "new state: true")
	v.say("two")
	v.await("one", "new state: true", "two")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "state", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := v.session.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
}

func TestAGoSocketComesBackToTheSameStateAfterARestartOfPlaneItself(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	v := visit(t, d, "kept")
	v.say("one")
	v.await("one")
	was := d.state("kept")
	d.restartable()
	d.Kill()
	d.Restart()
	d.AwaitListening()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "state", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := v.session.Do(r); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the old token leads nowhere: %v %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	v.say("two")
	v.await("one", "two")
	if now := d.state("kept"); now != was {
		t.Errorf("the backend was %+v, is %+v", was, now)
	}
}
