package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/offer"
	"plane/internal/image"
	"plane/internal/runtime/docker"
)

// imageStore is how the verbs of `plane image` find the images of a drone: those
// of the oci runtime, beside an agent that runs or without one.
type imageStore struct {
	dataDir string
	json    bool
}

func (s *imageStore) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.dataDir, "data-dir", "", "data directory of the drone (default: \"plane dev\" of this directory or one above it, else that of plane drone)")
	cmd.Flags().BoolVar(&s.json, "json", false, "print JSON")
}

// dir is the data directory that is meant.
func (s *imageStore) dir() (string, error) {
	if s.dataDir != "" {
		return s.dataDir, nil
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for _, up := range upwards(realDir(wd)) {
		if dir, used := devDataDirOf(up); used {
			return dir, nil
		}
	}
	if dir := roleDataDir("drone"); exists(dir) {
		return dir, nil
	}
	return devDataDir(wd), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// engineHas reports whether the engine of this machine has the image: its name
// then means that one.
func engineHas(ctx context.Context, ref image.Ref) bool {
	source, err := docker.OpenSource("")
	if err != nil {
		return false
	}
	defer func() { _ = source.Close() }()
	_, err = source.Inspect(ctx, string(ref))
	return err == nil
}

// imagesHere are the images of a store as they would be typed. It makes none.
func imagesHere(s *imageStore, begun string) (all []cobra.Completion) {
	dir, err := s.dir()
	if err != nil || !exists(home.Home{Dir: dir}.Images()) {
		return nil
	}
	store, done, err := s.open()
	if err != nil {
		return nil
	}
	defer done()
	found, _ := store.List()
	for _, l := range found {
		if name := l.Ref.Short(); strings.HasPrefix(name, begun) && typeable(name) && len(all) < mostCompletions {
			all = append(all, cobra.CompletionWithDesc(name, bytesText(l.Size)))
		}
	}
	return all
}

// open opens the store; done must be called.
func (s *imageStore) open() (*image.Store, func(), error) {
	dir, err := s.dir()
	if err != nil {
		return nil, nil, err
	}
	h, err := home.New(dir)
	if err != nil {
		return nil, nil, err
	}
	store, done, err := offer.Images(h, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, aboutFile(err)
	}
	return store, done, nil
}

func newImageCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "image",
		Short: "Pull, import, list and remove images of the oci runtime",
		Long: "Pull, import, list and remove the images that the oci runtime of this machine keeps\n" +
			"in its data directory, also while its agent runs. What backends use stays. Names mean\n" +
			"what they mean to Docker: redis is docker.io/library/redis:latest.",
		GroupID: groupUse,
	}, newImagePullCommand(), newImageListCommand(), newImageRemoveCommand(), newImageImportCommand())
}

func newImagePullCommand() *cobra.Command {
	var s imageStore
	var user string
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Fetch an image, or its newest version",
		Long: "Fetch an image from its registry, or from the Docker engine of this machine if it is\n" +
			"there, and unpack it. A password is read from standard input, never from the command line.",
		Example: "  plane image pull redis:7\n" +
			"  plane image pull registry.example.com/team/app:7 --username bob --password-stdin < password",
		Args: args(cobra.ExactArgs(1)),
		ValidArgsFunction: func(_ *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(given) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return imagesHere(&s, begun), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			ref, err := image.ParseRef(given[0])
			if err != nil {
				return misuse{err}
			}
			credentials, err := registryCredentials(cmd.InOrStdin(), user, fromStdin)
			if err != nil {
				return err
			}
			store, done, err := s.open()
			if err != nil {
				return err
			}
			defer done()
			policy := plane.PullAlways
			if engineHas(cmd.Context(), ref) {
				policy = plane.PullIfNotPresent
			}
			line := newProgressLine(cmd.ErrOrStderr())
			img, err := store.Pull(cmd.Context(), image.Request{Ref: ref, Policy: policy, Credentials: credentials}, line.pull)
			line.clear()
			switch {
			case err != nil:
				return err
			case s.json:
				return printJSON(cmd.OutOrStdout(), map[string]any{"image": ref, "digest": img.Digest, "size_bytes": img.Size})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is here: %s, %s\n", ref.Short(), img.Digest, bytesText(img.Size))
			return err
		},
	}
	s.bind(cmd)
	cmd.Flags().StringVar(&user, "username", "", "user of the registry; with --password-stdin")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password, or an identity token if there is no --username, from standard input")
	return cmd
}

// pull shows an image's progress.
func (p *progressLine) pull(at image.Progress) { p.show(progressText(at.Text, at.Done, at.Total)) }

const longestPassword = 64 << 10 // bytes; identity tokens are long

// registryCredentials reads the password that goes with a user name.
func registryCredentials(in io.Reader, user string, fromStdin bool) (*plane.Credentials, error) {
	switch {
	case !fromStdin && user == "":
		return nil, nil
	case !fromStdin:
		return nil, misusef("--username needs --password-stdin: the password is read from standard input")
	case isTerminal(in):
		return nil, misusef("--password-stdin reads standard input, which is this terminal; write the password into a file that only you can read, and give it with < FILE")
	}
	secret, err := bufio.NewReader(io.LimitReader(in, longestPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	switch secret = strings.TrimRight(secret, "\r\n"); {
	case secret == "":
		return nil, misusef("--password-stdin: standard input is empty")
	case user == "":
		return &plane.Credentials{IdentityToken: secret}, nil
	}
	return &plane.Credentials{Username: user, Password: secret}, nil
}

func newImageListCommand() *cobra.Command {
	var s imageStore
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the images that are here",
		Example: "  plane image ls",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, done, err := s.open()
			if err != nil {
				return err
			}
			defer done()
			all, err := store.List()
			switch {
			case err != nil:
				return err
			case s.json:
				if all == nil {
					all = []image.Listed{}
				}
				return printJSON(cmd.OutOrStdout(), map[string]any{"images": all, "size_bytes": store.Size()})
			case len(all) == 0:
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "There are no images here. `plane image pull IMAGE` fetches one; so does the first start.")
				return err
			}
			rows := [][]string{{"IMAGE", "DIGEST", "SIZE", "PULLED", "USED", "IN USE BY"}}
			for _, l := range all {
				rows = append(rows, []string{
					l.Ref.Short(), shortDigest(l.Digest), bytesText(l.Size), ago(l.Pulled), ago(l.Used), usersText(l.Users),
				})
			}
			if err := table(cmd.OutOrStdout(), rows); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%s on disk; layers are shared.\n", bytesText(store.Size()))
			return err
		},
	}
	s.bind(cmd)
	return cmd
}

// shortDigest is enough of a digest to tell images apart.
func shortDigest(d string) string { return d[:min(len(d), len("sha256:")+12)] }

func ago(t time.Time) string { return age(time.Since(t)) + " ago" }

func usersText(users []string) string {
	switch len(users) {
	case 0:
		return "-"
	case 1, 2:
		return strings.Join(users, ", ")
	}
	return plural(len(users), "backend")
}

func newImageRemoveCommand() *cobra.Command {
	var s imageStore
	cmd := &cobra.Command{
		Use:     "rm IMAGE...",
		Short:   "Remove images that no backend uses",
		Example: "  plane image rm redis:7",
		Args:    args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: func(_ *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			all := imagesHere(&s, begun)
			return slices.DeleteFunc(all, func(c cobra.Completion) bool {
				name, _, _ := strings.Cut(c, "\t")
				return slices.Contains(given, name)
			}), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			refs := make([]image.Ref, len(given))
			for i, word := range given {
				var err error
				if refs[i], err = image.ParseRef(word); err != nil {
					return misuse{err}
				}
			}
			store, done, err := s.open()
			if err != nil {
				return err
			}
			defer done()
			for _, ref := range refs {
				if err := removeImage(cmd.Context(), store, ref); err != nil {
					return err
				}
				if !s.json {
					_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s is removed\n", ref.Short())
				}
			}
			if s.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"removed": refs})
			}
			return nil
		},
	}
	s.bind(cmd)
	return cmd
}

func removeImage(ctx context.Context, store *image.Store, ref image.Ref) error {
	err := store.Remove(ctx, ref)
	if !errors.Is(err, image.ErrNotThere) {
		return err
	}
	var names []string
	all, listing := store.List()
	for _, l := range all {
		names = append(names, l.Ref.Short())
	}
	if best := plane.Nearest(ref.Short(), names); listing == nil && best != "" {
		return plane.NewError(plane.NotFound, fmt.Sprintf("There is no image %s here; did you mean %s?", ref.Short(), best))
	}
	return plane.NewError(plane.NotFound, fmt.Sprintf("There is no image %s here; `plane image ls` lists those that are.", ref.Short()))
}

func newImageImportCommand() *cobra.Command {
	var s imageStore
	cmd := &cobra.Command{
		Use:   "import PATH",
		Short: "Take the images of an archive or a directory",
		Long: "Take the images of an archive as `docker save` writes it, or of an OCI layout (a\n" +
			"directory, or an archive of one), under the names that it gives them. PATH - is\n" +
			"standard input.",
		Example: "  plane image import board.tar\n  plane image import - < board.tar",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			store, done, err := s.open()
			if err != nil {
				return err
			}
			defer done()
			path, cleanup, err := importPath(cmd.InOrStdin(), given[0])
			if err != nil {
				return err
			}
			defer cleanup()
			line := newProgressLine(cmd.ErrOrStderr())
			refs, err := store.Import(cmd.Context(), path, line.pull)
			line.clear()
			switch {
			case err != nil:
				return err
			case s.json:
				return printJSON(cmd.OutOrStdout(), map[string]any{"imported": refs})
			}
			for _, ref := range refs {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s is here\n", ref.Short())
			}
			return nil
		},
	}
	s.bind(cmd)
	return cmd
}

// importPath is the file to import: standard input is kept in one meanwhile,
// because archives are read more than once.
func importPath(in io.Reader, given string) (path string, cleanup func(), err error) {
	if given != "-" {
		return given, func() {}, nil
	}
	if isTerminal(in) {
		return "", nil, misusef("standard input is this terminal; write `docker save NAME | plane image import -`")
	}
	f, err := os.CreateTemp("", "plane-import-*")
	if err != nil {
		return "", nil, fmt.Errorf("keep standard input: %w", err)
	}
	cleanup = func() { _ = os.Remove(f.Name()) }
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err != nil {
		cleanup()
		return "", nil, fmt.Errorf("keep standard input: %w", err)
	}
	return f.Name(), cleanup, nil
}
