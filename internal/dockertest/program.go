package dockertest

import (
	"fmt"
	"os"
	"sync"
)

// Shared is an engine for all tests of a program that leave it running, with
// the images that they left there. No test has used it yet.
type Shared struct {
	Options Options

	once sync.Once
	all  program
	e    *Engine
}

// Engine gives the engine, started for the first who asks; prepare may load
// images.
func (s *Shared) Engine(t TB, prepare func(*Engine)) *Engine {
	t.Helper()
	Need(t)
	s.once.Do(func() {
		s.e = Start(&s.all, s.Options)
		prepare(s.e)
	})
	if s.e == nil {
		t.Fatal("the shared engine didn't start")
	}
	return s.e
}

// End ends it after testing.M's Run, whose code it takes, and gives the code to
// leave with.
func (s *Shared) End(code int) int {
	s.all.failed = code != 0
	for i := len(s.all.cleanups) - 1; i >= 0; i-- {
		s.all.cleanups[i]()
	}
	if s.all.failed && code == 0 {
		return 1
	}
	return code
}

// program is the TB of what outlives a test.
type program struct {
	cleanups []func()
	failed   bool
}

func (p *program) Helper()          {}
func (p *program) Failed() bool     { return p.failed }
func (p *program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }
func (p *program) Skip(args ...any) { panic(fmt.Sprint(args...)) }

func (p *program) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (p *program) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (p *program) Errorf(format string, args ...any) {
	p.failed = true
	p.Logf(format, args...)
}

func (p *program) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
