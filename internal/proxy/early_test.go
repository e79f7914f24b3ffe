package proxy

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// A page takes 410 and 400 for final; a proxy that knows nothing yet must not
// say them of what may be a key's URL in plane dev.
func TestBeforeTheFirstWelcomeAKeyURLIsToldToComeAgain(t *testing.T) {
	p, err := New(Config{Name: "px-test", Cluster: testCluster, ControllerURLs: []string{"http://127.0.0.1:1"}, Version: "1", Hash: "abc"})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, ln) }()
	defer func() {
		cancel()
		<-ended
	}()
	for _, path := range []string{"/", "/ws", "/_plane/status"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ln.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "sketch." + string(testCluster)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s, Retry-After %q", path, resp.Status, resp.Header.Get("Retry-After"))
		}
	}
}
