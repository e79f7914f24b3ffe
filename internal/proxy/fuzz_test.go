package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"plane"
)

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"localhost:9090", "doc--app.localhost:9090", ".localhost:9090", "a.b", "", ":443", "xn--a.localhost:9090", "--.localhost:9090"} {
		for _, p := range []string{"/", "/~a/b", "/%7e/%", "//", "/ready", "/s.x/y", "*", ""} {
			f.Add(s, p, true)
		}
	}
	names := newHostNames("localhost:9090", []string{"127.0.0.1:80"})
	f.Fuzz(func(t *testing.T, host, path string, dev bool) {
		host = normalHost(host)
		got := decide(names, dev, host, path, func(string) bool { return false })
		switch got.meaning {
		case meansNothing:
			if got.status < 400 {
				t.Fatalf("refused with %d", got.status)
			}
		case meansOwn:
			if got.path != "" && got.path[0] != '/' {
				t.Fatalf("%q %q: own path %+v", host, path, got)
			}
		case meansKey:
			if (plane.Key{Name: got.name, Namespace: got.app}).Check() != nil || got.name == "" || got.path == "" || got.path[0] != '/' {
				t.Fatalf("%q %q: key %+v", host, path, got)
			}
			if _, w := names.place(host); w == foreign {
				t.Fatalf("%q: key on a foreign host", host)
			}
		case meansToken:
			if got.token == "" || strings.Contains(got.token, "/") || got.path[0] != '/' {
				t.Fatalf("%q %q: token %+v", host, path, got)
			}
		}
		reaches(&plane.Route{Cluster: plane.ClusterName(host), Subdomain: path}, host, names)
		sameHost(path, host)
		validHost(host)
	})
}

// Whatever we take for one request, the standard library's server must take for
// the same one.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nAuthorization: x\r\nX-Verified-User: e\r\n\r\n",
		"GET http://a/b HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r request
		end := headEnd([]byte(text), 0)
		if end == 0 || parseRequest(text[:end], &r) != 0 {
			return
		}
		head := appendRequest(nil, &r, onward{path: r.path, peer: "p", scheme: "http", backend: "b", way: &way{}})
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
		if err != nil {
			return // they are stricter about targets: a refusal harms nobody
		}
		length := theirs.ContentLength
		if length != r.length {
			t.Fatalf("we say %d, they %d:\n%q", r.length, length, head)
		}
		if theirs.Method != r.method || theirs.RequestURI != r.path+r.query {
			t.Fatalf("another request:\n%q", head)
		}
		for name, values := range theirs.Header {
			if reserved(name) && (len(values) != 1 || name == "X-Verified-User") {
				t.Fatalf("%s: %q came through", name, values)
			}
			if strings.Contains(name, "_") && reserved(name) {
				t.Fatalf("%s came through", name)
			}
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("HTTP/1.0 200\nTransfer-Encoding: chunked\n\n3\r\nabc\r\n0\r\nX: y\r\n\r\n")
	f.Add("HTTP/1.1 304 x\r\nContent-Length: 3\r\nAccess-Control-Allow-Origin: *\r\n\r\n")
	f.Fuzz(func(_ *testing.T, text string) {
		var r response
		s := &source{conn: stringConn{r: strings.NewReader(text)}}
		head, err := s.head(nil)
		if err != nil || parseResponse(head, &r, false) != nil {
			return
		}
		var b body
		b.open(s, r.length)
		for {
			if _, err := b.next(); err != nil {
				break
			}
		}
		s.release()
	})
}

type stringConn struct {
	net.Conn
	r io.Reader
}

func (c stringConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// A body in chunks is read as the standard library reads it, however it arrives.
func FuzzChunks(f *testing.F) {
	f.Add("3\r\nabc\r\n0\r\n\r\n", 1)
	f.Add("A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n", 3)
	f.Add("0\r\n\r\n", 2)
	f.Fuzz(func(t *testing.T, text string, step int) {
		s := &source{conn: stringConn{r: &steps{strings.NewReader(text), 1 + step&7}}}
		var b body
		b.open(s, chunked)
		var got []byte
		var err error
		for {
			var p []byte
			if p, err = b.next(); err != nil {
				break
			}
			got = append(got, p...)
		}
		if err != io.EOF {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+text)), nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%q: %q, they read %q", text, got, want)
		}
	})
}

type steps struct {
	r io.Reader
	n int
}

func (s *steps) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), s.n)]) }
