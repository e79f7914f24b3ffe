package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/probe"
)

// reach dials all at once. Inside is told what network it has, too.
func reach(r probe.Report, ask probe.Ask, shared bool) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for what, to := range ask.Dial {
		all.Go(func() {
			to.Address = strings.Replace(to.Address, "GATEWAY", gateway(), 1)
			got := dial(to)
			mu.Lock()
			defer mu.Unlock()
			r.Add("reaches", got, what)
		})
	}
	all.Wait()
	if shared {
		r.Set("network", "all", probe.Machines)
		return
	}
	links, _ := net.Interfaces()
	for _, l := range links {
		r.Add("network", "interfaces", l.Name)
	}
	l, err := net.Listen("tcp", "127.0.0.1:80")
	if err == nil {
		_ = l.Close()
	}
	r.Set("network", "listens below 1024", map[bool]string{true: probe.Yes, false: probe.No}[err == nil])
}

// dial reports whether anybody answers.
func dial(to probe.Target) string {
	c, err := net.DialTimeout(to.Network, to.Address, time.Duration(to.Patience)*time.Millisecond)
	if err != nil {
		return probe.No
	}
	_ = c.Close()
	return probe.Yes
}

// gateway is where its packets go first, if anywhere.
func gateway() string {
	b, _ := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "00000000" {
			continue
		}
		if n, err := strconv.ParseUint(f[2], 16, 32); err == nil {
			return net.IP(binary.NativeEndian.AppendUint32(nil, uint32(n))).String()
		}
	}
	return "192.0.2.1"
}

// listen takes connections at the backend's port until it is ended.
func listen() {
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		fail("%v", err)
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			fail("%v", err)
		}
		_ = c.Close()
	}
}

// limits are ceilings that hold though nobody asked for them.
func limits(r probe.Report) {
	var l unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NPROC, &l)
	most := l.Cur
	for _, file := range []string{"/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"} {
		b, _ := os.ReadFile(file)
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil {
			most = min(most, n)
		}
	}
	r.Set("limits", "processes and threads", strconv.FormatUint(most, 10))
}
