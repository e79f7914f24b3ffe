// Command bench measures Plane beside the alternatives, interleaved in one
// run, and prints tables; with -write it also writes bench/RESULTS.md.
// Figures are of this machine at that hour: ratios travel, times don't.
//
//	go run ./bench              # everything, about three minutes where nothing else runs
//	go run ./bench -only start  # one of start, rate, containers, connect, idle, proxy
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	rounds      int
	wanted      string
	verbose     bool
	interrupted atomic.Bool // what is measured ends soon, and clears up
)

// progress says on the terminal how far a run is.
func progress(format string, args ...any) {
	if verbose {
		fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05.000 ")+format+"\n", args...)
	}
}

// section is one table.
type section struct {
	name string
	run  func(*session) (string, error)
}

var sections = []section{
	{"start", benchStart},
	{"rate", benchRate},
	{"containers", benchContainers},
	{"connect", benchConnect},
	{"idle", benchIdle},
	{"proxy", benchProxy},
}

func main() {
	only := flag.String("only", "", "run only this section")
	write := flag.Bool("write", false, "write bench/RESULTS.md")
	flag.IntVar(&rounds, "rounds", 20, "how often each way to a container is measured in turn")
	flag.StringVar(&wanted, "ways", "", "measure only those ways to a container that contain this text")
	flag.BoolVar(&verbose, "v", false, "say what is being measured")
	flag.Parse()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		signal.Stop(stop) // the next one ends it, whatever is left
		interrupted.Store(true)
	}()
	if err := measure(*only, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(only string, write bool) (err error) {
	var out strings.Builder
	fmt.Fprintf(&out, "# Results\n\nMeasured %s on %s, %d CPUs, %s/%s, %s. Made by `go run ./bench -write`.\n",
		time.Now().Format("2006-01-02"), kernel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	ran := false
	for _, s := range sections {
		if only != "" && only != s.name {
			continue
		}
		ran = true
		progress("%s", s.name)
		text, err := inSession(s.run)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Print(text, "\n")
		out.WriteString("\n" + text)
	}
	if !ran {
		return fmt.Errorf("no section %q", only)
	}
	if write {
		return os.WriteFile("bench/RESULTS.md", []byte(out.String()), 0o644)
	}
	return nil
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(b))
}
