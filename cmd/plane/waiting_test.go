package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/client"
	"plane/internal/api"
	"plane/internal/api/apitest"
	"plane/internal/wait"
)

func slowSite(t *testing.T) (*apitest.Drone, *client.Client) {
	t.Helper()
	away(t)
	s := apitest.New(t, api.Options{Insecure: true})
	d := s.StartDrone(t, nil)
	t.Setenv("PLANE_CONTROLLER", s.URL)
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d, c
}

// pulls tells of progress again and again, until stop is called.
func pulls(d *apitest.Drone, id plane.BackendID, first int64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := first << 20; wait.For(ctx, 50*time.Millisecond); n++ { // a byte each time
			d.Progress(id, "pulling", n, 1000<<20)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestAPullIsShownOnOneLineThatIsGoneAfterwards(t *testing.T) {
	d, _ := slowSite(t)
	p := terminal(t)
	ended := p.run(t.Context(), "connect", "slow-1", "--id", "one", "--", "/bin/echo")
	stop := pulls(d, "one", 250)
	defer stop()
	until(t, &p.shown, "slow-1: pulling  25 %  250.0 MiB of 1000.0 MiB")
	like(t, must(t, "status", "slow-1"), `.*status +loading, for [^\n]+\npreparing +pulling +25 %  250\.0 MiB of 1000\.0 MiB\n.*`)
	follower := terminal(t)
	followed := follower.run(t.Context(), "status", "slow-1", "--follow")
	until(t, &follower.shown, "\rpulling  25 %")
	stop()
	d.Finish("one")
	if err := waitFor(t, ended); err != nil {
		t.Fatal(err)
	}
	until(t, &p.shown, "status      ready")
	if text := p.shown.String(); strings.LastIndex(text, "\r\x1b[K") < strings.LastIndex(text, "pulling") || strings.Contains(text[strings.LastIndex(text, "http://"):], "pulling") {
		t.Errorf("the line stays: %q", text)
	}
	until(t, &follower.shown, "ready")
	like(t, follower.shown.String(), `.*\r\x1b\[K20\d\d-[^\n]+  starting\r\n[^K]*  ready\r\n`)
	must(t, "stop", "slow-1")
	if err := waitFor(t, followed); err != nil {
		t.Error(err)
	}
	must(t, "connect", "fast", "--", "/bin/echo") // which also says that nothing goes to a pipe
}

func TestAnInterruptedWaitLeavesNothing(t *testing.T) {
	d, _ := slowSite(t)
	p := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	exit := make(chan int, 1)
	go func() {
		exit <- execute(ctx, []string{"connect", "slow-1", "--id", "one", "--", "/bin/echo"}, p.tty, p.tty)
	}()
	defer pulls(d, "one", 250)()
	until(t, &p.shown, "pulling  25 %")
	cancel()
	select {
	case code := <-exit:
		if code != exitInterrupted {
			t.Errorf("exit %d", code)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
	until(t, &p.shown, "\r\x1b[K")
	if text := p.shown.String(); !strings.HasSuffix(text, "\x1b[K") {
		t.Errorf("it leaves %q", text)
	}
}

func TestAWaitLastsAsLongAsThePullComesOn(t *testing.T) {
	d, c := slowSite(t)
	const patience = time.Second
	connect := func(id string) error {
		k := plane.Key{Name: "slow-" + id}
		w := waiting{client: c, line: &progressLine{}, patience: patience, connect: c.Connect}
		got, err := w.until(t.Context(), client.ConnectRequest{
			Key: &k, Wait: "ready", WaitSeconds: int(patience / time.Second), Spawn: &plane.Spec{ID: &id, Executable: []byte(`{"command":["/bin/echo"]}`)},
		})
		if err == nil && got.Status != plane.Ready {
			return errors.New("it is " + string(got.Status))
		}
		return err
	}
	began := time.Now()
	if err := connect("still"); !plane.IsKind(err, plane.Unavailable) || time.Since(began) > 20*patience {
		t.Errorf("without progress, after %v: %v", time.Since(began), err)
	}
	ended := make(chan error, 1)
	go func() { ended <- connect("moves") }()
	stop := pulls(d, "moves", 1)
	defer stop()
	select {
	case err := <-ended:
		t.Fatalf("it gave up: %v", err)
	case <-time.After(3 * patience):
	}
	d.Finish("moves")
	if err := waitFor(t, ended); err != nil {
		t.Error(err)
	}
}
