package proxy

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// Every time-out is about one thing; a request as a whole has none.
func TestTrap31_LongTransfersOutliveEveryTimeout(t *testing.T) {
	const short, steps = 100 * time.Millisecond, 8
	c := start(t, func(cfg *Config, _ *controller) {
		cfg.Timeouts.ReadHeader, cfg.Timeouts.Idle, cfg.Timeouts.Connect = short, short, short
		cfg.Timeouts.ResponseHeader = short
	})
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		n, err := io.Copy(io.Discard, r.Body)
		for range steps { // and as long a way back
			time.Sleep(short / 2)
			_, _ = io.WriteString(w, ".")
			_ = rc.Flush()
		}
		fmt.Fprintf(w, " %d %v", n, err)
	}))
	pr, pw := io.Pipe()
	go func() {
		for range steps {
			time.Sleep(short / 2) // a slow line, not a wait for something
			_, _ = io.WriteString(pw, "piece")
		}
		_ = pw.Close()
	}()
	req, err := http.NewRequest(http.MethodPost, "http://"+c.addr+"/"+c.token("b1")+"/", pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = string(testCluster)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := fmt.Sprintf("........ %d <nil>", steps*len("piece")); string(body) != want || err != nil {
		t.Errorf("got %q, %v; want %q", body, err, want)
	}
}
