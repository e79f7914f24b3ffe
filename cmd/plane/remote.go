package main

import (
	"cmp"
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
	for _, dir := range likelyDataDirs() {
		if socket := operatorSocket(dir); answers(socket) {
			return client.New("unix://"+socket, opts)
		}
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

// likelyDataDirs are the default data directories of controllers: that of
// `plane dev` in this working directory first.
func likelyDataDirs() []string {
	var dirs []string
	if wd, err := os.Getwd(); err == nil {
		dirs = append(dirs, devDataDir(wd))
	}
	return append(dirs, roleDataDir("controller"))
}

func answers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
