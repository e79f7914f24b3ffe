package api

import (
	"encoding/json"
	"fmt"

	"plane"
	"plane/internal/controller"
)

// Names of the fields that requests may have. An unknown one is an error: a
// misspelt limit must never be silently none.
var (
	connectFields = []string{"key", "spawn_config", "user", "auth", "app", "wait", "wait_seconds", "token_lifetime_seconds", "port"}
	keyFields     = []string{"name", "namespace", "tag"}
	spawnFields   = []string{"id", "cluster", "pool", "executable", "lifetime_limit_seconds", "max_idle_seconds", "use_static_token", "subdomain", "start_timeout_seconds", "stop_grace_seconds", "lease"}
	revokeFields  = []string{"backend_id", "user"}
	apiKeyFields  = []string{"name", "grants"}
)

const maxWait = 120 // seconds

// decodeConnect reads the body of POST /ctrl/connect. What a missing field and
// an explicit null mean is part of the contract, field by field. With app set
// an app may stand for a missing executable even if the request names none.
func decodeConnect(v value, app bool) (controller.ConnectRequest, error) {
	var req controller.ConnectRequest
	var spec *value
	err := v.object(connectFields, func(v value, name string) *plane.Error {
		switch name {
		case "key":
			return decodeKey(v, &req.Key)
		case "spawn_config":
			if !v.null() {
				spec = &v
			}
			return nil
		case "user":
			return v.optionalText(&req.User)
		case "auth":
			if v.raw[0] != '{' {
				return v.wrong("an object")
			}
			req.Auth = v.raw
			return nil
		case "app":
			var s *string
			err := v.optionalText(&s)
			if s != nil {
				req.App, app = *s, true
			}
			return err
		case "wait":
			var s *string
			err := v.optionalText(&s)
			if err == nil && s != nil {
				if *s != "ready" {
					return plane.Invalid(v.field, fmt.Sprintf("wait is %q; it must be \"ready\" or absent.", *s))
				}
				req.WaitReady = true
			}
			return err
		case "wait_seconds":
			return v.seconds(&req.WaitSeconds, 1, maxWait)
		case "token_lifetime_seconds":
			return v.seconds(&req.TokenLifetime, 1, 1<<31-1)
		default: // port
			var s *string
			err := v.optionalText(&s)
			if s != nil {
				req.Port = *s
			}
			return err
		}
	})
	if err != nil {
		return req, err
	}
	if spec != nil {
		// After the whole body: whether an executable must be there depends on "app".
		if err := decodeSpawn(*spec, &req.Spec, app); err != nil {
			return req, err
		}
	}
	return req, nil
}

// seconds reads an integer from least to most; null leaves 0.
func (v value) seconds(into *int, least, most int32) *plane.Error {
	var n *int32
	if err := v.optionalInt32(&n); err != nil || n == nil {
		return err
	}
	if *n < least || *n > most {
		return plane.Invalid(v.field, fmt.Sprintf("%s is %d; it must be from %d to %d.", v.field, *n, least, most))
	}
	*into = int(*n)
	return nil
}

func decodeKey(v value, into **plane.Key) *plane.Error {
	if v.null() {
		return nil
	}
	var k plane.Key
	named := false
	err := v.object(keyFields, func(v value, name string) *plane.Error {
		switch name {
		case "name":
			named = true
			return v.text(&k.Name)
		case "namespace":
			return v.text(&k.Namespace)
		default:
			return v.text(&k.Tag)
		}
	})
	if err != nil {
		return err
	}
	if !named {
		return plane.Invalid("key.name", "key.name is missing.")
	}
	*into = &k
	return k.Check()
}

func decodeSpawn(v value, into **plane.Spec, app bool) *plane.Error {
	var s plane.Spec
	executable := false
	err := v.object(spawnFields, func(v value, name string) *plane.Error {
		switch name {
		case "id":
			return v.optionalText(&s.ID)
		case "cluster":
			return v.optionalText(&s.Cluster)
		case "pool":
			return v.text(&s.Pool)
		case "executable":
			executable = true
			s.Executable = json.RawMessage(v.raw)
			return nil
		case "lifetime_limit_seconds":
			return v.optionalInt32(&s.LifetimeLimit)
		case "max_idle_seconds":
			return v.optionalInt32(&s.MaxIdle)
		case "use_static_token":
			return v.boolean(&s.UseStaticToken)
		case "subdomain":
			return v.optionalText(&s.Subdomain)
		case "start_timeout_seconds":
			return v.optionalInt32(&s.StartTimeout)
		case "stop_grace_seconds":
			return v.optionalInt32(&s.StopGrace)
		default: // lease
			var p *string
			err := v.optionalText(&p)
			if p != nil {
				s.Lease = plane.Policy(*p)
			}
			return err
		}
	})
	switch {
	case err != nil:
		return err
	case !executable && !app:
		return plane.Invalid("spawn_config.executable", "spawn_config.executable is missing.")
	}
	*into = &s
	return nil
}

// decodeRevoke reads the body of POST /ctrl/b/revoke.
func decodeRevoke(v value) (id plane.BackendID, user string, err error) {
	var backend string
	missing := map[string]bool{"backend_id": true, "user": true}
	e := v.object(revokeFields, func(v value, name string) *plane.Error {
		delete(missing, name)
		if name == "user" {
			return v.text(&user)
		}
		return v.text(&backend)
	})
	if e != nil {
		return "", "", e
	}
	for _, name := range revokeFields {
		if missing[name] {
			return "", "", plane.Invalid(name, name+" is missing.")
		}
	}
	return plane.BackendID(backend), user, nil
}

// decodeAPIKey reads the body of POST /ctrl/api-keys.
func decodeAPIKey(v value) (name string, grants []string, err error) {
	granted := false
	e := v.object(apiKeyFields, func(v value, field string) *plane.Error {
		if field == "name" {
			return v.text(&name)
		}
		granted = true
		return v.texts(&grants)
	})
	if e != nil {
		return "", nil, e
	}
	if !granted || len(grants) == 0 {
		return "", nil, plane.Invalid("grants", `grants is missing or empty; name what the key may do, e.g. ["connect:team-a/*","read"], or ["*"].`)
	}
	return name, grants, nil
}
