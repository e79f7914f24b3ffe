package imagetest

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// faulty gives one blob as badly as its fault says.
type faulty struct {
	http.ResponseWriter
	fault  Fault
	gone   <-chan struct{} // the client
	count  func(n int)
	length int64
	passed int64
	broken bool
}

func (f *faulty) WriteHeader(code int) {
	f.length, _ = strconv.ParseInt(f.Header().Get("Content-Length"), 10, 64)
	if f.length < f.fault.Least {
		f.fault = Fault{}
	}
	f.ResponseWriter.WriteHeader(code)
}

func (f *faulty) Write(p []byte) (int, error) {
	whole := len(p)
	const step = 32 << 10
	for len(p) > 0 && !f.broken {
		n := min(len(p), step)
		if f.fault.Cut > 0 {
			n = min(n, int(f.fault.Cut-f.passed))
		}
		if n == 0 {
			f.end()
			break
		}
		if err := f.pass(p[:n]); err != nil {
			return 0, err
		}
		p = p[n:]
	}
	return whole, nil
}

func (f *faulty) pass(p []byte) error {
	if last := f.passed + int64(len(p)); f.fault.Wrong && last == f.length {
		p = bytes.Clone(p)
		p[len(p)-1] ^= 1
	}
	n, err := f.ResponseWriter.Write(p)
	f.passed += int64(n)
	f.count(n)
	if err != nil {
		return err
	}
	if f.fault.PauseEach > 0 {
		_ = http.NewResponseController(f.ResponseWriter).Flush()
		t := time.NewTimer(f.fault.PauseEach)
		defer t.Stop()
		select {
		case <-f.gone:
		case <-t.C:
		}
	}
	return nil
}

// end breaks the connection, or lets it hang until the client is gone.
func (f *faulty) end() {
	f.broken = true
	if f.fault.Stall {
		_ = http.NewResponseController(f.ResponseWriter).Flush()
		<-f.gone
	}
}
