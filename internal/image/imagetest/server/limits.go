package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// limits are the routes that go as far as this program may.
func limits(mux *http.ServeMux) {
	for path, f := range map[string]struct {
		of  string
		run func(n int) (int, error)
	}{
		"/eat":  {"bytes", func(n int) (int, error) { eat(n); return n, nil }},
		"/spin": {"ms", spin},
		"/fork": {"count", fork},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, q *http.Request) {
			n, err := strconv.Atoi(q.FormValue(f.of))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if n, err = f.run(n); err != nil {
				w.Header().Set("Refused", err.Error())
			}
			fmt.Fprintln(w, n)
		})
	}
}

// spin is busy for so many milliseconds, and gives those that it had a processor.
func spin(ms int) (int, error) {
	before := used()
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
	}
	return int((used() - before).Milliseconds()), nil
}

func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fork starts processes until there are n or one is refused, ends them, and tells
// how many there were.
func fork(n int) (int, error) {
	var all []*exec.Cmd
	defer func() {
		for _, c := range all {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for len(all) < n {
		c := exec.Command(os.Args[0], "sleep")
		if err := c.Start(); err != nil {
			return len(all), err
		}
		all = append(all, c)
	}
	return n, nil
}
