package oci

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"plane/internal/runtime/isolation"
)

// filter is the list of system calls that sandboxes may make: Docker's default.
// To compile it costs crun 20 ms, twice as much as all the rest of a start; so
// what it compiled once is kept and given to it again.
type filter struct {
	profile *specs.LinuxSeccomp
	file    string // compiled, by this crun, for this machine

	mu       sync.Mutex // guards compiled
	compiled string     // base64
}

// newFilter makes the profile for sandboxes with these capabilities. by names
// the program that compiles it, with its version.
func newFilter(caps []string, dir, by string) (*filter, error) {
	p, err := isolation.Filter(caps)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("make the list of system calls: %w", err)
	}
	sum := sha256.Sum256(append(b, by...))
	return &filter{profile: p, file: filepath.Join(dir, "filter-"+hex.EncodeToString(sum[:8]))}, nil
}

// annotations hand the compiled filter to crun, once there is one.
func (f *filter) annotations() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.compiled == "" {
		if b, err := os.ReadFile(f.file); err == nil && len(b) > 0 && len(b)%8 == 0 { // whole instructions
			f.compiled = base64.StdEncoding.EncodeToString(b)
		}
	}
	if f.compiled == "" {
		return nil
	}
	return map[string]string{"run.oci.seccomp_bpf_data": f.compiled}
}

// learn keeps what crun compiled for a container, whose state is in dir.
func (f *filter) learn(dir string) error {
	f.mu.Lock()
	known := f.compiled != ""
	f.mu.Unlock()
	if known {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(dir, "seccomp.bpf"))
	if err != nil || len(b) == 0 {
		if errors.Is(err, os.ErrNotExist) {
			return nil // another version of crun keeps none
		}
		return err
	}
	return replaceFile(f.file, b)
}
