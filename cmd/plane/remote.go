package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"plane/client"
)

// defaultController is replaced by tests.
var defaultController = "http://127.0.0.1:8080"

// remote is how a command finds its controller.
type remote struct {
	controller string
	dataDir    string
	json       bool
}

// bind adds the flags that all commands have which speak with a controller.
func (r *remote) bind(f *pflag.FlagSet) {
	r.bindController(f)
	f.BoolVar(&r.json, "json", false, "print JSON")
}

func (r *remote) bindController(f *pflag.FlagSet) {
	f.StringVar(&r.controller, "controller", "", "URL of the controller (PLANE_CONTROLLER; else \"plane dev\" of this directory or one above it, else "+defaultController+")")
	f.StringVar(&r.dataDir, "data-dir", "", "data directory of a controller on this machine, to use its socket")
}

// client finds the controller: what is named wins; then the socket of one on
// this machine, which needs no key; then the default address, unless another
// project is there.
func (r *remote) client() (*client.Client, error) {
	opts := client.Options{APIKey: os.Getenv("PLANE_API_KEY")}
	if url := cmp.Or(r.controller, os.Getenv("PLANE_CONTROLLER")); url != "" {
		return client.New(url, opts)
	}
	if r.dataDir != "" {
		return client.New("unix://"+operatorSocket(r.dataDir), opts)
	}
	wd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	socket, err := projectSocket(wd)
	if err != nil {
		return nil, err
	}
	if socket == "" {
		socket = operatorSocket(roleDataDir("controller"))
	}
	if answers(socket) {
		return client.New("unix://"+socket, opts)
	}
	c, err := client.New(defaultController, opts)
	if err != nil {
		return nil, err
	}
	return c, notAnothers(c, realDir(wd))
}

// projectSocket is that of the `plane dev` of wd, or of the nearest directory
// above it where one runs; "" if there is none.
func projectSocket(wd string) (string, error) {
	for i, up := range upwards(realDir(wd)) {
		dir, used := devDataDirOf(up)
		if socket := operatorSocket(dir); answers(socket) {
			return socket, nil
		}
		if used && i == 0 {
			// Another project's controller may well be at the default address:
			// a stop there would end somebody else's backend.
			return "", errors.New("`plane dev` of this directory isn't running; start it, or name another controller with --controller or --data-dir")
		}
	}
	return "", nil
}

// notAnothers refuses a controller that is the `plane dev` of a directory which
// wd isn't in. One that says nothing, or isn't there, is for the verb to meet.
func notAnothers(c *client.Client, wd string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	about, err := c.About(ctx)
	if err != nil || about.Project == "" || slices.Contains(upwards(wd), about.Project) {
		return nil
	}
	return fmt.Errorf("%s is `plane dev` of %s, and none was started in this directory; go there, or name it with --controller %s", defaultController, about.Project, defaultController)
}

// operatorSocket is where a controller with that data directory listens for
// its operator: in the directory of sockets that package home chose for it.
func operatorSocket(dataDir string) string {
	run := filepath.Join(dataDir, "run")
	if real, err := filepath.EvalSymlinks(run); err == nil {
		run = real
	}
	return filepath.Join(run, "api.sock")
}

func answers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
