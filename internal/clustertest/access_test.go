package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// put and post send JSON to a controller, which must take it.
func send(t *testing.T, method, url string, body any) map[string]any {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, url, strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := apiClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s", method, url, resp.Status, text)
	}
	var answer map[string]any
	_ = json.Unmarshal(text, &answer)
	return answer
}

// ask visits a URL at a proxy, whose address stands for every host name, and
// doesn't follow redirections.
func ask(t *testing.T, proxy, address string, header ...string) (*http.Response, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	host := u.Host
	u.Host = proxy
	req, err := http.NewRequest(http.MethodGet, u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp, string(b)
}

func TestAKeyWithTokenAccessLetsInWhoCameWithALink(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	send(t, http.MethodPut, d.API+"/ctrl/apps/notes", map[string]any{"command": []string{Build(t).Echo}, "access": "token"})
	_, port, _ := net.SplitHostPort(d.Proxy)
	bare := "http://doc--notes.localhost:" + port + "/"
	for _, accept := range []string{"*/*", "text/html"} {
		if resp, body := ask(t, d.Proxy, bare, "Accept: "+accept); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "link") {
			t.Errorf("without a link: %s %s", resp.Status, body)
		}
	}
	if n := d.Backends(); len(n) != 0 {
		t.Fatalf("it started %v", n)
	}
	connected := func(user string) (link, backend string) {
		c := send(t, http.MethodPost, d.API+"/ctrl/connect", map[string]any{
			"key": map[string]any{"name": "doc"}, "app": "notes", "user": user, "wait": "ready",
		})
		urls, _ := c["urls"].(map[string]any)
		return fmt.Sprint(urls["key"]), fmt.Sprint(c["backend_id"])
	}
	link, backend := connected("alice")
	if !strings.HasPrefix(link, bare+"_plane/enter/") {
		// A cluster keeps its name when its port moved: the host is what counts.
		if !strings.Contains(link, "doc--notes.localhost") || !strings.Contains(link, "/_plane/enter/") {
			t.Fatalf("urls.key is %s", link)
		}
	}
	resp, _ := ask(t, d.Proxy, link)
	cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(cookie, "plane=") {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	resp, body := ask(t, d.Proxy, bare+"headers", "Cookie: "+cookie)
	if resp.StatusCode != http.StatusOK || !strings.Contains(strings.ToLower(body), "alice") || strings.Contains(body, cookie) {
		t.Errorf("with the cookie: %s %s", resp.Status, body)
	}

	// Its next backend lets the same visitor in, and is told who it is.
	terminate(d.API, backend)
	await(t, pageTimeout, "the next backend", func() bool {
		resp, body = ask(t, d.Proxy, bare+"headers", "Cookie: "+cookie)
		return resp.Header.Get("X-Plane-Backend-Id") != backend && resp.StatusCode == http.StatusOK
	})
	if !strings.Contains(strings.ToLower(body), "alice") {
		t.Errorf("the next backend: %s %s", resp.Status, body)
	}

	// Who was revoked stays out, also from backends that came later.
	_, now := connected("bob")
	send(t, http.MethodPost, d.API+"/ctrl/b/revoke", map[string]any{"backend_id": now, "user": "alice"})
	refused := func() bool {
		resp, _ := ask(t, d.Proxy, bare+"headers", "Cookie: "+cookie)
		return resp.StatusCode == http.StatusUnauthorized
	}
	await(t, pageTimeout, "the revoked visitor is refused", refused)
	terminate(d.API, now)
	link, _ = connected("bob") // starts the next one
	if !refused() {
		t.Error("a revoked visitor came in again with the next backend")
	}
	if resp, _ := ask(t, d.Proxy, link); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("another's new link: %s", resp.Status)
	}
}

func TestAnUnknownAppIsNamedWithThoseThatThereAre(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	send(t, http.MethodPut, d.API+"/ctrl/apps/notes", map[string]any{"command": []string{Build(t).Echo}})
	_, port, _ := net.SplitHostPort(d.Proxy)
	resp, body := ask(t, d.Proxy, "http://doc--nodes.localhost:"+port+"/", "Accept: text/html")
	if resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "notes") || !strings.Contains(body, "There is no such app") {
		t.Errorf("%s %s", resp.Status, body)
	}
}
