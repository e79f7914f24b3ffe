package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// packer makes one release.
type packer struct {
	source    string // the repository
	out       string
	version   string
	platforms []platform
	revision  revision // of the sources
	level     int      // of compression
}

// pack replaces what out held.
func (p *packer) pack() error {
	if strings.ContainsFunc(p.version, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyz.-", r)
	}) {
		return fmt.Errorf("version %q: use digits, small letters, dots and dashes", p.version)
	}
	if filepath.Clean(p.out) == filepath.Clean(p.source) {
		return errors.New("-out is the source directory; name another one")
	}
	if err := os.RemoveAll(p.out); err != nil {
		return err
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return err
	}
	if err := p.image(); err != nil {
		return fmt.Errorf("the image's context: %w", err)
	}
	for _, at := range p.platforms {
		if err := p.platform(at); err != nil {
			return err
		}
	}
	script, err := os.ReadFile(filepath.Join(p.source, "packaging", "install.sh"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.out, "install.sh"), script, 0o755); err != nil {
		return err
	}
	return p.sums()
}

func (p *packer) platform(at platform) error {
	name := fmt.Sprintf("plane_%s_%s_%s", p.version, at.os, at.arch)
	binary := filepath.Join(p.out, name)
	if err := p.build(binary, at); err != nil {
		return err
	}
	defer os.Remove(binary)
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	licence, err := os.ReadFile(filepath.Join(p.source, "LICENSE"))
	if err != nil {
		return err
	}
	others, err := p.licences(at)
	if err != nil {
		return fmt.Errorf("licences: %w", err)
	}
	if at.os == "linux" {
		dir := filepath.Join(p.out, "image", at.os+"_"+at.arch)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "plane"), program, 0o755); err != nil {
			return err
		}
	}
	return writeArchive(filepath.Join(p.out, name+".tar.gz"), p.revision.time, p.level, []member{
		{"LICENSE", 0o644, licence},
		{"THIRD-PARTY-LICENSES", 0o644, others},
		{"plane", 0o755, program},
	})
}

// image is all that `docker build` needs, in one directory.
func (p *packer) image() error {
	dir := filepath.Join(p.out, "image")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(filepath.Join(dir, "state"), 0o700)); err != nil {
		return err
	}
	for _, name := range []string{"Dockerfile", "passwd"} {
		b, err := os.ReadFile(filepath.Join(p.source, "packaging", "image", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sums writes SHA256SUMS, as `sha256sum -c` reads it.
func (p *packer) sums() error {
	entries, err := os.ReadDir(p.out)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(p.out, e.Name()))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		_, _ = fmt.Fprintf(&text, "%s  %s\n", hex.EncodeToString(sum[:]), e.Name())
	}
	return os.WriteFile(filepath.Join(p.out, "SHA256SUMS"), text.Bytes(), 0o644)
}
