package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// options are the flags; each has a twin in the environment, ECHO_SLOW_START
// for --slow-start, so that a start can be spoilt without another command line.
type options struct {
	listen      string
	everywhere  bool
	neverListen bool
	slowStart   time.Duration
	exit        int // -1 = doesn't
	exitAfter   time.Duration
	ignoreTerm  bool
	flood       int
	hogMiB      int
	grandchild  string

	getenv func(string) string
}

func parseOptions(args []string, getenv func(string) string) (options, error) {
	o := options{getenv: getenv}
	host, port := or(getenv("HOST"), "127.0.0.1"), or(getenv("PORT"), "8000")
	f := flag.NewFlagSet("echo", flag.ContinueOnError)
	f.StringVar(&o.listen, "listen", net.JoinHostPort(host, port), "address to listen on; default from HOST and PORT")
	f.BoolVar(&o.everywhere, "everywhere", false, "listen on all interfaces")
	f.BoolVar(&o.neverListen, "never-listen", false, "run, but don't listen")
	f.DurationVar(&o.slowStart, "slow-start", 0, "listen only after this time")
	f.IntVar(&o.exit, "exit", -1, "exit with this code")
	f.DurationVar(&o.exitAfter, "exit-after", 0, "… after this time, while serving")
	f.BoolVar(&o.ignoreTerm, "ignore-term", false, "go on after SIGTERM and SIGINT")
	f.IntVar(&o.flood, "flood", 0, "lines of output to write before listening")
	f.IntVar(&o.hogMiB, "hog", 0, "MiB of memory to take before listening")
	f.StringVar(&o.grandchild, "grandchild", "", "processes to start: plain, setsid, double-fork; several with commas")
	var err error
	f.VisitAll(func(fl *flag.Flag) {
		name := "ECHO_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		if v := getenv(name); v != "" {
			if e := f.Set(fl.Name, v); e != nil && err == nil {
				err = fmt.Errorf("%s: %w", name, e)
			}
		}
	})
	if err != nil {
		return o, err
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", f.Arg(0))
	}
	return o, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// beforeListening does what spoils a start.
func (o options) beforeListening(s *server) error {
	flood(os.Stdout, o.flood, 100)
	s.hog.take(o.hogMiB)
	if o.grandchild != "" {
		for kind := range strings.SplitSeq(o.grandchild, ",") {
			if _, err := startGrandchild(kind, o.ignoreTerm); err != nil {
				return err
			}
		}
	}
	time.Sleep(o.slowStart)
	if o.exit < 0 {
		return nil
	}
	if o.exitAfter > 0 {
		time.AfterFunc(o.exitAfter, func() { os.Exit(o.exit) })
		return nil
	}
	os.Exit(o.exit)
	return nil
}

// listener is the inherited one if the parent left one at descriptor 3
// (LISTEN_FDS, LISTEN_PID), else a new one.
func (o options) listener() (net.Listener, error) {
	if n, _ := strconv.Atoi(o.getenv("LISTEN_FDS")); n > 0 && o.getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		const first = 3
		f := os.NewFile(first, "inherited listener")
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("take inherited listener: %w", err)
		}
		return l, nil
	}
	addr := o.listen
	if o.everywhere {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		addr = ":" + port
	}
	return net.Listen("tcp", addr)
}
