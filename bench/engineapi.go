package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// engineAPI uses the Docker engine directly, without Plane: what a program does
// that wants a container and an answer from it.
type engineAPI struct {
	*client.Client
	engine int // process of dockerd: ports are published where it is
	n      atomic.Int64
}

func (f *fleet) engineAPI() (*engineAPI, error) {
	c, err := client.New(client.WithHost(f.engine.Host))
	if err != nil {
		return nil, err
	}
	f.Cleanup(func() { _ = c.Close() })
	return &engineAPI{Client: c, engine: f.engine.Pid()}, nil
}

const (
	enginePort = 8080
	directName = "direct-"
)

// published is the way of the existing system: a published port, found by an
// inspect, and a look every 100 ms whether it answers.
func (e *engineAPI) published() (took time.Duration, stop func() error, err error) {
	port, _ := network.PortFrom(enginePort, network.TCP)
	begin := time.Now()
	id, stop, err := e.run(&container.HostConfig{PortBindings: network.PortMap{port: {{HostIP: netip.MustParseAddr("127.0.0.1")}}}}, network.PortSet{port: {}})
	if err != nil {
		return 0, nil, err
	}
	c, err := e.ContainerInspect(context.Background(), id, client.ContainerInspectOptions{})
	if err != nil {
		return 0, stop, err
	}
	at := c.Container.NetworkSettings.Ports[port]
	if len(at) == 0 {
		return 0, stop, fmt.Errorf("the engine has published no port")
	}
	number, err := strconv.Atoi(at[0].HostPort)
	if err != nil {
		return 0, stop, err
	}
	err = answers(e.engine, number, 100*time.Millisecond)
	return time.Since(begin), stop, err
}

// inside is Plane's way: no network, dialled from within, and looked at each
// millisecond.
func (e *engineAPI) inside() (took time.Duration, stop func() error, err error) {
	begin := time.Now()
	id, stop, err := e.run(&container.HostConfig{NetworkMode: "none"}, nil)
	if err != nil {
		return 0, nil, err
	}
	c, err := e.ContainerInspect(context.Background(), id, client.ContainerInspectOptions{})
	if err != nil {
		return 0, stop, err
	}
	err = answers(c.Container.State.Pid, enginePort, time.Millisecond)
	return time.Since(begin), stop, err
}

func (e *engineAPI) run(h *container.HostConfig, exposed network.PortSet) (id string, stop func() error, err error) {
	ctx := context.Background()
	made, err := e.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       fmt.Sprintf("%s%d", directName, e.n.Add(1)),
		Config:     &container.Config{Image: fleetImage, Env: []string{"PORT=" + strconv.Itoa(enginePort)}, ExposedPorts: exposed},
		HostConfig: h,
	})
	if err != nil {
		return "", nil, err
	}
	stop = func() error {
		_, err := e.ContainerKill(ctx, made.ID, client.ContainerKillOptions{})
		return err
	}
	_, err = e.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
	return made.ID, stop, err
}

// clear removes the containers that were made here, and waits until no other
// runs: those of Plane stay for as long as it remembers them.
func (e *engineAPI) clear(s *session) error {
	ctx := context.Background()
	return s.eventually("no container runs", func() bool {
		all, err := e.ContainerList(ctx, client.ContainerListOptions{All: true})
		rests := err == nil
		for _, c := range all.Items {
			direct := strings.HasPrefix(c.Names[0], "/"+directName)
			if direct {
				_, _ = e.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true})
			}
			rests = rests && !direct && c.State != container.StateRunning
		}
		return rests
	})
}

// answers waits for an answer from a port of the network namespace of a process,
// looking every so often.
func answers(pid, port int, every time.Duration) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(every) {
		c, err := dialInside(pid, port)
		if err == nil {
			err = hello(c)
		}
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func hello(c net.Conn) error {
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && len(b) < len("HTTP/") {
		err = io.ErrUnexpectedEOF
	}
	return err
}
