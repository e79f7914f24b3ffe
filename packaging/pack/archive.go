package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"time"
)

// member is one file of an archive.
type member struct {
	name string
	mode int64
	body []byte
}

// writeArchive writes a .tar.gz that tells nothing of who made it, and when:
// every member has the time given. level is gzip's.
func writeArchive(path string, at time.Time, level int, members []member) error {
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, m := range members {
		err := t.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: m.name, Mode: m.mode, Size: int64(len(m.body)), ModTime: at.UTC(), Format: tar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		if _, err := t.Write(m.body); err != nil {
			return err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
