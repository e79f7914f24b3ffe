package main

import (
	"cmp"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"plane/client"
)

const defaultController = "http://127.0.0.1:8080"

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
	f.StringVar(&r.controller, "controller", "", "URL of the controller (PLANE_CONTROLLER; else the socket in the data directory, else "+defaultController+")")
	f.StringVar(&r.dataDir, "data-dir", "", "data directory of a controller on this machine, to use its socket")
}

// client finds the controller: what is named wins; then the socket of one on
// this machine, which needs no key; then the default address.
func (r *remote) client() (*client.Client, error) {
	opts := client.Options{APIKey: os.Getenv("PLANE_API_KEY")}
	if url := cmp.Or(r.controller, os.Getenv("PLANE_CONTROLLER")); url != "" {
		return client.New(url, opts)
	}
	if r.dataDir != "" {
		return client.New("unix://"+operatorSocket(r.dataDir), opts)
	}
	if wd, err := os.Getwd(); err == nil {
		dir, ours := devDataDirOf(wd)
		if socket := operatorSocket(dir); answers(socket) {
			return client.New("unix://"+socket, opts)
		}
		if ours {
			// Another project's controller may well be at the default address:
			// a stop there would end somebody else's backend.
			return nil, errors.New("`plane dev` of this directory isn't running; start it, or name another controller with --controller or --data-dir")
		}
	}
	if socket := operatorSocket(roleDataDir("controller")); answers(socket) {
		return client.New("unix://"+socket, opts)
	}
	return client.New(defaultController, opts)
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
