package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"plane"
	"plane/internal/api"
	"plane/internal/controller"
	"plane/internal/run"
	"plane/internal/store/sqlite"
	"plane/internal/wire"
)

const newKeysCluster = plane.ClusterName("bench.localhost:9090")

// newKeyCluster is a controller over SQLite in this process, with a drone that
// takes every order and runs nothing, so that only the recording of new keys
// is measured. It returns the URL of the API.
func newKeyCluster(s *session) (string, error) {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	db, err := sqlite.Open(ctx, filepath.Join(s.TempDir(), "plane.db"), sqlite.Options{Log: log})
	if err != nil {
		cancel()
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return "", err
	}
	url := "http://" + l.Addr().String()
	c, err := controller.New(ctx, controller.Config{
		Name: "co-bench", Store: db, DefaultCluster: newKeysCluster, URL: url, SingleHost: true, Log: log,
	})
	if err != nil {
		cancel()
		return "", err
	}
	server := api.Server(api.New(c, api.Options{Insecure: true, Log: log, DefaultCluster: newKeysCluster}))
	welcomed := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- run.All(ctx,
			run.Part{Name: "controller", Run: c.Run},
			run.Part{Name: "api", Run: func(ctx context.Context) error {
				defer context.AfterFunc(ctx, func() { _ = server.Close() })()
				return server.Serve(l)
			}},
			run.Part{Name: "drone", Run: func(ctx context.Context) error { return obey(ctx, url, welcomed) }})
	}()
	s.Cleanup(func() {
		cancel()
		<-done
		_ = db.Close()
	})
	select {
	case <-welcomed:
		return url, nil
	case err := <-done:
		done <- err
		return "", errors.Join(errors.New("the cluster ended"), err)
	case <-time.After(10 * time.Second):
		return "", errors.New("the drone was not welcomed within 10 s")
	}
}

// obey is a drone that says yes to every order.
func obey(ctx context.Context, url string, welcomed chan<- struct{}) error {
	conn, err := wire.Dial(ctx, url+"/ctrl/c/"+string(newKeysCluster)+"/drone-socket", nil, nil)
	if err != nil {
		return err
	}
	err = conn.Write(ctx, wire.DroneHello{
		Node:   wire.Node{Protocol: wire.Version, Name: "dr-bench", Cluster: newKeysCluster},
		BootID: "boot", Warden: "warden", Agent: "agent", Runtimes: []string{"process"}, Commands: true,
	})
	if err != nil {
		return err
	}
	m, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	welcome, ok := m.(wire.DroneWelcome)
	if !ok {
		return errors.New("no welcome")
	}
	number, first := welcome.Attempt, true
	renew := func() error {
		number++
		return conn.Send(wire.Renew{Number: number, Epochs: welcome.Epochs, Store: welcome.Store})
	}
	if err := renew(); err != nil {
		return err
	}
	go func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if renew() != nil {
					return
				}
			}
		}
	}()
	return conn.Run(ctx, func(m wire.Message) error {
		switch m := m.(type) {
		case wire.Renewed:
			if first {
				first = false
				close(welcomed)
			}
		case wire.Spawn:
			return conn.Send(wire.Acted{Action: m.Action, Backend: m.Backend})
		}
		return nil
	})
}
