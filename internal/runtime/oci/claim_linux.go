package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/oci/waiter"
)

// errSpent: the sandbox can't be taken; another may, or a new one is launched.
var errSpent = errors.New("the prepared sandbox is gone")

// take has u take over a prepared sandbox, if one waits. errSpent if none does,
// or it turned out to be gone.
func (r *Runtime) take(ctx context.Context, image *picture, u runtime.Unit) (runtime.Process, error) {
	if r.opts.Prepared.most() < 1 {
		return nil, errSpent
	}
	r.mu.Lock()
	w, ok := r.stock.ask(kindOf(image.digest, userWord(u.Executable, image), u.Executable), image, u.Executable, time.Now())
	r.mu.Unlock()
	if !ok {
		return nil, errSpent
	}
	p, err := r.claim(ctx, w, image, u)
	if err != nil {
		// Never used again, whatever of the backend it has seen.
		_ = os.Remove(bundleOf(r.opts.Home, string(u.Backend)).dir)
		r.discard(ctx, []string{w.id})
		r.drop(w.id)
		return nil, err
	}
	if err := r.from.release(w.id); err != nil {
		r.log.Warn("an image stays held", "image", image.name, "error", err)
	}
	return p, nil
}

// claim binds backend, environment, directories and network to a sandbox and
// has its init run the command.
func (r *Runtime) claim(ctx context.Context, w waiting, image *picture, u runtime.Unit) (runtime.Process, error) {
	h, _, err := r.machine(ctx)
	if err != nil {
		return nil, err
	}
	argv, err := image.argv(u.Executable)
	if err != nil {
		return nil, err
	}
	shown, err := r.share(h, u)
	if err != nil {
		return nil, err
	}
	defer shown.close()
	c := waiter.Command{
		Dir: image.dir(u.Executable), Argv: argv,
		Env: image.environment(append(u.Env[:len(u.Env):len(u.Env)], r.mark(u.Backend)), w.who, string(u.Backend)),
	}
	search := value(c.Env, "PATH")
	c.Paths = waiter.Paths(argv[0], search)
	payload, err := c.Payload()
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(w.id, bundleOf(r.opts.Home, string(u.Backend)).dir); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	err = r.inside(w, func() error {
		if err := unix.Sethostname([]byte(u.Backend)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
		root, err := openRootfs("/")
		if err != nil {
			return err
		}
		defer root.Close()
		if err := root.mkdir(c.Dir, r.owner(0)); err != nil && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("working directory %s of image %s: %w", c.Dir, image.name, err)
		}
		if err := root.program(image.name, argv[0], c.Dir, search); err != nil {
			return err
		}
		for name, text := range etcFiles(string(u.Backend), r.resolver(u.Egress)) {
			if err := writeFile("/etc/"+name, []byte(text)); err != nil {
				return err
			}
		}
		if err := errors.Join(unix.Unmount(initPath, unix.MNT_DETACH), os.Remove(initPath)); err != nil {
			return fmt.Errorf("take the waiter out of the sandbox: %w", err)
		}
		places := map[string]string{doorsDir: runtime.DoorsDir, dataDir: runtime.DataDir}
		_, err = shown.attach(w.who, func(name string) string { return places[name] })
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := r.letOut(ctx, u, w.pid); err != nil {
		return nil, err
	}
	o := r.order(h, u)
	o.Sandbox, o.Payload = w.id, payload
	p, err := r.ask(ctx, o)
	if errors.Is(err, warden.ErrNoSandbox) {
		return nil, errSpent
	}
	if err != nil {
		return nil, explain(err, image.name)
	}
	if err := r.noteCommand(w.id, c); err != nil {
		r.log.Warn("exec can't be used in this backend", "backend", u.Backend, "error", err)
	}
	return p, nil
}

// inside runs f on a thread that is in the mounts and under the name of a waiting
// sandbox. Nothing of its image runs yet.
func (r *Runtime) inside(w waiting, f func() error) error {
	proc := fmt.Sprintf("/proc/%d/", w.pid)
	mounts, err1 := os.Open(proc + "ns/mnt")
	names, err2 := os.Open(proc + "ns/uts")
	defer mounts.Close()
	defer names.Close()
	groups, err3 := os.ReadFile(proc + "cgroup")
	if err1 != nil || err2 != nil || err3 != nil || !strings.Contains(string(groups), "/"+w.id) {
		return errSpent // another process may have got the number
	}
	return means.Aside(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		for file, kind := range map[*os.File]int{mounts: unix.CLONE_NEWNS, names: unix.CLONE_NEWUTS} {
			if err := unix.Setns(int(file.Fd()), kind); err != nil {
				return fmt.Errorf("enter sandbox: %w", err)
			}
		}
		return f()
	})
}

// noteCommand makes the bundle's spec that of the backend, for exec.
func (r *Runtime) noteCommand(id string, c waiter.Command) error {
	b := bundleOf(r.opts.Home, id)
	s, err := b.spec()
	if err != nil {
		return err
	}
	s.Process.Args, s.Process.Cwd, s.Process.Env = c.Argv, c.Dir, c.Env
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(b.dir, specFile), text)
}
