package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"plane"
	"plane/internal/controller"
	"plane/internal/planefile"
)

// operator is who `plane dev` is to its controller.
var operator = controller.Actor{Kind: "operator"}

// devApps are the apps that `plane dev` serves.
type devApps struct {
	defaultApp *string // nil = none: KEY.CLUSTER leads nowhere

	mu   sync.Mutex     // guards file
	file planefile.File // as it was last right; the zero value's Path is "" without one
}

// chooseApps are those of the command line, else of the file, else the whiteboard.
func chooseApps(in io.Reader, wd string, f devFlags, command []string) (*devApps, error) {
	a := &devApps{}
	if f.image != "" || len(command) > 0 {
		t, err := oneApp(in, wd, f.programFlags, command)
		if err != nil {
			return nil, err
		}
		a.serveOne("", t)
		return a, nil
	}
	path := f.file
	if path == "" {
		var err error
		if path, err = planefile.Find(wd); err != nil {
			return nil, err
		}
	}
	if path == "" {
		return a, a.serveWhiteboard()
	}
	file, err := planefile.Read(path)
	if err != nil {
		return nil, err
	}
	if err := findPrograms(file); err != nil {
		return nil, err
	}
	a.file = file
	if _, ok := file.Apps[file.Default]; ok {
		a.defaultApp = &file.Default
	}
	return a, nil
}

// oneApp is the app that a command line describes.
func oneApp(in io.Reader, wd string, f programFlags, command []string) (plane.Template, error) {
	x, err := f.executable(in, command)
	if err != nil {
		return plane.Template{}, err
	}
	if _, err := checked(x); err != nil {
		return plane.Template{}, err
	}
	t := plane.Template{
		Image: x.Image, Runtime: x.RuntimeName, Command: x.Command, Env: x.Env, Port: x.Port, PullPolicy: x.PullPolicy, Credentials: x.Credentials,
	}
	if x.Image != "" {
		t.Egress = "public"
		return t, nil
	}
	program, err := findProgram(command[0])
	if err != nil {
		return t, err
	}
	t.Command, t.Dir = append([]string{program}, command[1:]...), wd
	return t, nil
}

// noImages says why nothing need be there that runs images, "" if an app is one.
func (a *devApps) noImages() string {
	for _, t := range a.current().Apps {
		if t.Image != "" {
			return ""
		}
	}
	return "This `plane dev` was started without an image; start it with --image IMAGE, or with an app in plane.yaml that has one."
}

// devPrepared is how many sandboxes are kept ready: on one person's machine the
// memory counts for more than ten milliseconds.
const devPrepared = 0

// devRuntimes are those that --runtime asks for; nil = whichever can be used.
func devRuntimes(name string) []string {
	if name == "" || name == plane.RuntimeProcess {
		return nil
	}
	return []string{plane.RuntimeProcess, name}
}

func (a *devApps) serveOne(name string, t plane.Template) {
	a.file = planefile.File{Default: name, Apps: map[string]plane.Template{name: t}}
	a.defaultApp = &name
}

const whiteboardApp = "whiteboard"

func (a *devApps) serveWhiteboard() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file, to start the whiteboard: %w", err)
	}
	a.serveOne(whiteboardApp, plane.Template{Command: []string{self, whiteboardApp}, Data: plane.DataKeep})
	return nil
}

// findPrograms says which app's program can't be run, or has no directory to
// run in, and where that stands.
func findPrograms(f planefile.File) error {
	for _, name := range f.Names() {
		if err := findDir(f.Apps[name].Dir); err != nil && f.Apps[name].Image == "" {
			return fmt.Errorf("%s: %w", f.Where(name, "dir"), err)
		}
		if command := f.Apps[name].Command; len(command) > 0 && f.Apps[name].Image == "" {
			if _, err := findProgram(command[0]); err != nil {
				return fmt.Errorf("%s: %w", f.Where(name, "command"), err)
			}
		}
	}
	return nil
}

func findDir(dir string) error {
	if dir == "" {
		return nil
	}
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s; make it, or correct dir", dir)
	case err != nil:
		return fmt.Errorf("dir can't be used: %w", err)
	case !st.IsDir():
		return fmt.Errorf("%s is a file; name the directory that it is in", dir)
	}
	return nil
}

// current is the file as it was last right.
func (a *devApps) current() planefile.File {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file
}

// defaultMaxIdle is --idle, in seconds; nil = none.
func defaultMaxIdle(idle time.Duration) *int32 {
	if idle <= 0 {
		return nil
	}
	seconds := int32(max(1, idle.Round(time.Second)/time.Second))
	return &seconds
}

// apply gives all apps to the controller.
func (a *devApps) apply(ctx context.Context, c *controller.Controller, show *console) error {
	file := a.current()
	for _, name := range file.Names() {
		if _, err := a.applyOne(ctx, c, show, file, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *devApps) applyOne(ctx context.Context, c *controller.Controller, show *console, file planefile.File, name string) (controller.Applied, error) {
	t := file.Apps[name]
	done, err := c.Apply(ctx, operator, name, t)
	var bad *plane.Error
	if errors.As(err, &bad) && file.Path != "" {
		return done, fmt.Errorf("%s: %s", file.Where(name, bad.Field), bad.Message)
	}
	for _, w := range done.Warnings {
		show.warn(strings.TrimSpace(name + ": " + w))
	}
	return done, err
}

// shownApp is an app as `plane dev` tells of it when it begins.
type shownApp struct {
	Name    string `json:"name"`
	URL     string `json:"url"` // with KEY in the place of a key
	Default bool   `json:"default"`
	Runs    string `json:"runs"`
}

// shown are the apps below a proxy's host, the default one first.
func (a *devApps) shown(host string) []shownApp {
	file := a.current()
	var all []shownApp
	for _, name := range file.Names() {
		t := file.Apps[name]
		x := shownApp{Name: name, URL: "http://KEY--" + name + "." + host + "/", Runs: t.Image}
		switch {
		case file.Path == "" && name == whiteboardApp:
			x.Runs = "a shared whiteboard; your own program: plane dev -- COMMAND"
		case t.Image == "":
			x.Runs = strings.Join(t.Command, " ")
		}
		if a.defaultApp != nil && *a.defaultApp == name {
			x.Default, x.URL = true, "http://KEY."+host+"/"
		}
		all = append(all, x)
	}
	slices.SortStableFunc(all, func(x, y shownApp) int {
		switch {
		case x.Default:
			return -1
		case y.Default:
			return 1
		}
		return 0
	})
	return all
}

// replaceOld ends, softly, what was taken over from a former `plane dev` and
// runs another release, or an app that isn't served any more.
func (d dev) replaceOld(ctx context.Context) error {
	for _, app := range d.apps.current().Names() {
		if err := d.replaceOldOf(ctx, app, "its command or settings changed"); err != nil {
			return err
		}
	}
	return d.endUnserved(ctx)
}

// endUnserved ends what runs of apps that are gone.
func (d dev) endUnserved(ctx context.Context) error {
	keys, err := d.controller.EndUnserved(ctx, operator)
	for _, k := range keys {
		what := "app " + k.Namespace
		if k.Namespace == "" {
			what = "the former command"
		}
		d.show.changed(change{App: k.Namespace, Key: &k, Text: fmt.Sprintf("[%s] ended: %s isn't served any more", shown(k), what), Replaced: 1})
	}
	return err
}

func (d dev) replaceOldOf(ctx context.Context, app, why string) error {
	keys, err := d.controller.ReplaceOld(ctx, operator, app)
	for _, k := range keys {
		d.show.changed(change{App: app, Key: &k, Text: fmt.Sprintf("[%s] replaced: %s", shown(k), why), Replaced: 1})
	}
	return err
}
