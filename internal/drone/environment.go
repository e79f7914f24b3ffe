package drone

import (
	"slices"
	"strconv"
	"strings"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/runtime"
)

// environment is what a program starts with: the drone's, the app's, Plane's.
//
// An image starts from its own environment, never from that of the drone.
func environment(base []string, x plane.Executable, id plane.BackendID, b journal.Backend, ports portSet, data, socket string) []string {
	if x.Kind() == plane.KindImage {
		base = nil
		if data != "" {
			data = runtime.DataDir
		}
		if socket != "" {
			socket = runtime.Socket
		}
	}
	env := slices.DeleteFunc(slices.Clone(base), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return foreign(name) || ofPlane(name)
	})
	env = slices.Clip(env)
	names := make([]string, 0, len(x.Env))
	for name := range x.Env {
		if !ofPlane(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		env = append(env, name+"="+x.Env[name])
	}
	env = append(env, ports.environment()...)
	env = append(env,
		"SESSION_BACKEND_ID="+string(id),
		"SESSION_BACKEND_KEY="+b.Key.Name,
		"SESSION_BACKEND_NAMESPACE="+b.Key.Namespace,
		"SESSION_BACKEND_FENCING_TOKEN="+strconv.FormatInt(int64(b.Generation), 10),
	)
	if x.Kind() == plane.KindProcess {
		env = append(env, "HOST=127.0.0.1")
	}
	if b.Static != "" {
		env = append(env, "SESSION_BACKEND_STATIC_TOKEN="+string(b.Static))
	}
	if data != "" {
		env = append(env, "SESSION_BACKEND_DATA_DIR="+data)
	}
	if socket != "" {
		env = append(env, "SESSION_BACKEND_SOCKET="+socket)
	}
	return env
}

// ofPlane reports whether a variable is Plane's to set: one that was inherited
// or comes from an app would speak of another backend.
func ofPlane(name string) bool { return strings.HasPrefix(name, "SESSION_BACKEND_") }

// foreign reports whether a variable was meant for the drone itself, by
// whoever started it.
func foreign(name string) bool {
	return strings.HasPrefix(name, "LISTEN_") || name == "NOTIFY_SOCKET"
}
