package offer

import (
	"context"
	"log/slog"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/runtime/docker"
	"plane/internal/runtime/egress"
	"plane/internal/runtime/oci"
)

// Examined is what one of the things that images need was found to be.
type Examined struct {
	Name    string   // of a runtime, or "egress"
	About   string   // a sentence, if nothing is missing
	Missing []string // sentences; it can't be used
	Lacks   []string // sentences; some executables can't use it
}

// Examine looks at this machine as a drone with that data directory would, and
// changes nothing.
func Examine(ctx context.Context, h home.Home) []Examined {
	log := slog.New(slog.DiscardHandler)
	all := []Examined{examine(ctx, plane.RuntimeOCI, oci.New(oci.Options{Home: h, Log: log}))}
	engine, err := docker.New(docker.Options{Home: h, Dev: true, Logger: log})
	if err != nil {
		all = append(all, Examined{Name: plane.RuntimeDocker, Missing: Each(err)})
	} else {
		all = append(all, examine(ctx, plane.RuntimeDocker, engine))
	}
	way := egress.New(egress.Options{Hash: h.Hash(), Allowed: plane.Egress{Public: true}, Log: log})
	return append(all, Examined{Name: "egress", About: "Containers get a way out where app and operator allow it.", Missing: Each(way.Check())})
}

// subject is a runtime that can be asked about itself.
type subject interface {
	Check(context.Context) error
	Lacks(context.Context) error
	About(context.Context) string
	Close()
}

func examine(ctx context.Context, name string, r subject) Examined {
	defer r.Close()
	if err := r.Check(ctx); err != nil {
		return Examined{Name: name, Missing: Each(err)}
	}
	return Examined{Name: name, About: "It can be used: " + r.About(ctx) + ".", Lacks: Each(r.Lacks(ctx))}
}
