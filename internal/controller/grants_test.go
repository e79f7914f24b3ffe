package controller

import (
	"testing"

	"plane"
	"plane/internal/store"
)

func TestGrants(t *testing.T) {
	for _, c := range []struct {
		grants    []string
		verb      Verb
		namespace string
		want      bool
	}{
		{nil, VerbNode, Everywhere, true},
		{[]string{}, VerbRead, "", false},
		{[]string{"*"}, VerbAPIKey, Everywhere, true},
		{[]string{"connect"}, VerbConnect, "a", true},
		{[]string{"connect"}, VerbRead, "a", false},
		{[]string{"connect:a/*"}, VerbConnect, "a", true},
		{[]string{"connect:a/*"}, VerbConnect, "ab", false},
		{[]string{"connect:a/*"}, VerbConnect, "", false},
		{[]string{"connect:a/*"}, VerbConnect, Everywhere, false},
		{[]string{"connect:/*"}, VerbConnect, "", true},
		{[]string{"*:a/*"}, VerbTerminate, "a", true},
		{[]string{"*:a/*"}, VerbDrain, Everywhere, false},
		{[]string{"read", "connect:a/*"}, VerbConnect, "a", true},
	} {
		if got := (Actor{Grants: c.grants}).May(c.verb, c.namespace) == nil; got != c.want {
			t.Errorf("%q may %s in %q: %v", c.grants, c.verb, c.namespace, got)
		}
	}
	for grant, ok := range map[string]bool{
		"connect": true, "*": true, "connect:a/*": true, "read:/*": true, "*:a/*": true,
		"": false, "own": false, "connect:a": false, "connect:": false, "drain:a/*": false, "api-key:a/*": false, "connect:\x00/*": false,
	} {
		if got := checkGrant(grant) == nil; got != ok {
			t.Errorf("grant %q: %v", grant, got)
		}
	}
}

func TestEveryVerbChecksItsGrant(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	r := keyed("doc")
	r.Key.Namespace = "a"
	b := p.connectTo(r)
	p.until(b.BackendID, plane.Ready)
	ctx := t.Context()
	namespace := "a"
	for _, c := range []struct {
		name   string
		right  string
		wrong  []string
		global bool
		do     func(Actor) error
	}{
		{"connect", "connect:a/*", []string{"connect:b/*", "read"}, false, func(a Actor) error { _, err := p.Connect(ctx, a, r); return err }},
		{"one", "read:a/*", []string{"read:b/*", "connect"}, false, func(a Actor) error { _, err := p.Backend(ctx, a, b.BackendID); return err }},
		{"list", "read:a/*", []string{"read:b/*"}, false, func(a Actor) error {
			_, err := p.Backends(ctx, a, store.Filter{Namespace: &namespace})
			return err
		}},
		{"explain", "read:a/*", []string{"read:b/*"}, false, func(a Actor) error { _, err := p.Explain(ctx, a, "a", "doc"); return err }},
		{"events", "read:a/*", []string{"connect"}, false, func(a Actor) error {
			return p.Events(ctx, a, 0, false, func(EventView) error { return nil })
		}},
		{"revoke", "revoke:a/*", []string{"revoke:b/*"}, false, func(a Actor) error { return p.Revoke(ctx, a, b.BackendID, "u") }},
		{"drain", "drain", []string{"*:a/*", "node"}, true, func(a Actor) error { _, err := p.Drain(ctx, a, testCluster, "dr-1", false); return err }},
		{"keys", "api-key", []string{"*:a/*", "read"}, true, func(a Actor) error { _, err := p.APIKeys(ctx, a); return err }},
		{"remove", "node", []string{"drain"}, true, func(a Actor) error {
			err := p.RemoveNode(ctx, a, testCluster, "dr-none", Removal{})
			if plane.IsKind(err, plane.NotFound) {
				return nil
			}
			return err
		}},
		{"terminate", "terminate:a/*", []string{"terminate:b/*", "connect"}, false, func(a Actor) error { return p.Terminate(ctx, a, b.BackendID, plane.Soft) }},
	} {
		for _, g := range c.wrong {
			if err := c.do(Actor{Kind: "api-key", Grants: []string{g}}); !plane.IsKind(err, plane.Forbidden) {
				t.Errorf("%s with %q: %v", c.name, g, err)
			}
		}
		if err := c.do(Actor{Kind: "api-key", Grants: []string{c.right}}); err != nil {
			t.Errorf("%s with %q: %v", c.name, c.right, err)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	ctx := t.Context()
	k, err := p.CreateAPIKey(ctx, operatorActor, "ci", []string{"api-key", "connect:a/*"})
	if err != nil || k.Secret == "" {
		t.Fatalf("create: %+v, %v", k, err)
	}
	a, err := p.Authenticate(ctx, k.Secret)
	if err != nil || a.Name != k.ID || a.Kind != "api-key" || a.May(VerbConnect, "a") != nil {
		t.Fatalf("authenticate: %+v, %v", a, err)
	}
	for _, secret := range []string{"", "x", k.Secret + "x", k.Secret[:len(k.Secret)-1]} {
		if _, err := p.Authenticate(ctx, secret); !plane.IsKind(err, plane.Unauthorized) {
			t.Errorf("secret %q: %v", secret, err)
		}
	}
	if _, err := p.CreateAPIKey(ctx, a, "more", []string{"connect"}); !plane.IsKind(err, plane.Forbidden) {
		t.Errorf("a key gave away more than it has: %v", err)
	}
	if _, err := p.CreateAPIKey(ctx, a, "same", []string{"connect:a/*"}); err != nil {
		t.Errorf("a key may give what it has: %v", err)
	}
	list, err := p.APIKeys(ctx, operatorActor)
	if err != nil || len(list) != 2 || list[0].Secret != "" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := p.DeleteAPIKey(ctx, operatorActor, k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Authenticate(ctx, k.Secret); !plane.IsKind(err, plane.Unauthorized) {
		t.Errorf("a deleted key is let in: %v", err)
	}
	if err := p.DeleteAPIKey(ctx, operatorActor, k.ID); !plane.IsKind(err, plane.NotFound) {
		t.Errorf("deleting twice: %v", err)
	}
}
