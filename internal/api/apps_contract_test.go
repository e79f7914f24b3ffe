package api_test

import (
	"strings"
	"testing"

	"plane"
	"plane/internal/api"
	"plane/internal/api/apitest"
	"plane/internal/controller"
)

func TestAnswersAboutAppsAndData(t *testing.T) {
	x := &exchange{t: t, site: insecure(t)}
	x.say("GET", "/ctrl/apps", "")
	x.say("PUT", "/ctrl/apps/board", `{"command":["/bin/echo","{port}"],"data":"keep","max_idle_seconds":300,"ports":{"metrics":9100}}`)
	x.say("PUT", "/ctrl/apps/board", `{"max_idle_seconds":300,"command":["/bin/echo","{port}"],"data":"keep","ports":{"metrics":9100}}`)
	x.say("PUT", "/ctrl/apps/board", `{"command":["/bin/echo","{port}"],"data":"keep"}`)
	x.say("PUT", "/ctrl/apps/draw", `{"image":"draw:1"}`)
	x.say("PUT", "/ctrl/apps/Board", `{"image":"draw:1"}`)
	x.say("PUT", "/ctrl/apps/a--b", `{"image":"draw:1"}`)
	x.say("PUT", "/ctrl/apps/board", `{"comand":["x"]}`)
	x.say("PUT", "/ctrl/apps/board", `{"image":"a","max_idle_seconds":-1}`)
	x.say("PUT", "/ctrl/apps/board", `{"image":"a"}`, "Content-Type", "text/plain")
	x.say("PUT", "/ctrl/apps/", `{"image":"a"}`)
	x.say("POST", "/ctrl/apps/board", `{"image":"a"}`)
	x.say("GET", "/ctrl/apps", "")
	x.say("GET", "/ctrl/apps?x=1", "")
	x.say("GET", "/ctrl/apps/board", "")
	x.say("GET", "/ctrl/apps/nobody", "")

	x.say("POST", "/ctrl/apps/board/release", `{"release":1}`)
	x.say("POST", "/ctrl/apps/board/release", `{}`)
	x.say("POST", "/ctrl/apps/board/release", `{"release":9}`)
	x.say("POST", "/ctrl/apps/board/release", `{"release":0}`)
	x.say("POST", "/ctrl/apps/nobody/release", `{}`)
	x.say("POST", "/ctrl/apps/board/release", ``)

	x.say("POST", "/ctrl/connect", `{"app":"board","key":{"name":"doc","namespace":""},"spawn_config":{"id":"one"},"wait":"ready"}`)
	x.say("GET", "/ctrl/b/one", "")
	x.say("POST", "/ctrl/connect", `{"app":"nobody","key":{"name":"doc"}}`)
	x.say("POST", "/ctrl/connect", `{"app":"board","key":{"name":"other"},"spawn_config":{`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"app":"board","key":{"name":"other","namespace":"draw"}}`)
	x.say("POST", "/ctrl/connect", `{"app":"board","key":{"name":"other"},"spawn_config":{"data":"keep"}}`)

	x.say("GET", "/ctrl/data", "")
	x.say("GET", "/ctrl/data?namespace=board&key_prefix=d&limit=1", "")
	x.say("GET", "/ctrl/data?namespace=draw", "")
	x.say("GET", "/ctrl/data?limit=0", "")
	x.say("GET", "/ctrl/data?prefix=d", "")
	x.say("DELETE", "/ctrl/data?namespace=board", "")
	x.say("DELETE", "/ctrl/data?name=doc", "")
	x.say("DELETE", "/ctrl/data?namespace=board&name=nothing", "")
	x.say("DELETE", "/ctrl/data?namespace=board&name=doc", "")
	x.say("POST", "/ctrl/b/one/hard-terminate", "null")
	x.say("GET", "/pub/b/one/status-stream", "", "Last-Event-ID", "ready")
	x.say("DELETE", "/ctrl/data?namespace=board&name=doc", "")
	x.say("GET", "/ctrl/data", "")
	x.compare("apps.golden")
}

func TestAppsAndDataNeedTheirGrants(t *testing.T) {
	s := apitest.New(t, api.Options{})
	key := func(grants ...string) string {
		k, err := s.Controller.CreateAPIKey(t.Context(), controller.Actor{Kind: "operator"}, "k", grants)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + k.Secret
	}
	const template = `{"command":["/bin/echo"]}`
	applies, reads, abandons := key("app:board/*"), key("read:board/*"), key("data:board/*")
	for _, c := range []struct {
		key, method, path, body string
		status                  int
	}{
		{applies, "PUT", "/ctrl/apps/draw", template, 403},
		{applies, "PUT", "/ctrl/apps/board", template, 200},
		{reads, "PUT", "/ctrl/apps/board", template, 403},
		{reads, "POST", "/ctrl/apps/board/release", `{"release":1}`, 403},
		{applies, "POST", "/ctrl/apps/board/release", `{"release":1}`, 200},
		{applies, "GET", "/ctrl/apps", "", 403},
		{reads, "GET", "/ctrl/apps", "", 200},
		{reads, "GET", "/ctrl/apps/board", "", 200},
		{reads, "GET", "/ctrl/apps/draw", "", 403},
		{reads, "GET", "/ctrl/data", "", 200},
		{reads, "GET", "/ctrl/data?namespace=draw", "", 403},
		{abandons, "GET", "/ctrl/data", "", 403},
		{reads, "DELETE", "/ctrl/data?namespace=board&name=a", "", 403},
		{abandons, "DELETE", "/ctrl/data?namespace=draw&name=a", "", 403},
		{abandons, "DELETE", "/ctrl/data?namespace=board&name=a", "", 404},
	} {
		resp, answer := s.Do(t, c.method, c.path, c.body, "Authorization", c.key)
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, resp.StatusCode, c.status, answer)
		}
		if c.status == 403 && !strings.Contains(answer, "lacks the grant") {
			t.Errorf("%s %s: %s", c.method, c.path, answer)
		}
	}
}

// TestDataOnADroneThatIsAwayIsSaid is about never an empty document in place of
// one that can't be reached.
func TestDataOnADroneThatIsAwayIsSaid(t *testing.T) {
	s := apitest.New(t, api.Options{Insecure: true})
	d := s.StartDrone(t, nil)
	s.Do(t, "PUT", "/ctrl/apps/board", `{"command":["/bin/echo"],"data":"keep"}`)
	if resp, answer := s.Do(t, "POST", "/ctrl/connect", `{"app":"board","key":{"name":"doc"},"spawn_config":{"id":"one"},"wait":"ready"}`); resp.StatusCode != 200 {
		t.Fatal(answer)
	}
	s.Do(t, "POST", "/ctrl/b/one/hard-terminate", "null")
	s.Do(t, "GET", "/pub/b/one/status-stream", "") // ends with the backend
	s.Do(t, "POST", "/ctrl/c/"+string(apitest.Cluster)+"/d/"+string(d.Name)+"/drain", "null")
	resp, answer := s.Do(t, "POST", "/ctrl/connect", `{"app":"board","key":{"name":"doc"}}`)
	if resp.StatusCode != 503 || !strings.Contains(answer, `"kind":"`+string(plane.DataUnavailable)+`"`) || !strings.Contains(answer, string(d.Name)) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s %v", resp.StatusCode, answer, resp.Header)
	}
}
