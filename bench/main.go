// Command bench measures Plane beside the alternatives, interleaved in one
// run, and prints tables; with -write it also writes bench/RESULTS.md.
// Figures are of this machine at that hour: ratios travel, times don't.
//
//	go run ./bench              # everything, about three minutes
//	go run ./bench -only start  # one of start, rate, connect, idle, proxy
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// section is one table.
type section struct {
	name string
	run  func(*session) (string, error)
}

var sections = []section{
	{"start", benchStart},
	{"rate", benchRate},
	{"connect", benchConnect},
	{"idle", benchIdle},
	{"proxy", benchProxy},
}

func main() {
	only := flag.String("only", "", "run only this section")
	write := flag.Bool("write", false, "write bench/RESULTS.md")
	flag.Parse()
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
