package main

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane"
)

// programFlags say what is run and how: with the same words wherever a command
// line can.
type programFlags struct {
	image, runtime, pullPolicy string
	port                       int
	env                        []string
	username                   string
	passwordStdin              bool
}

func (f *programFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.image, "image", "", "run this image, one container per key; a command after -- takes the place of its own")
	flags.StringVar(&f.runtime, "runtime", "", "what runs it: process, docker or oci (default: oci for images where it can be used, else docker)")
	flags.StringVar(&f.pullPolicy, "pull-policy", "", "when the image is pulled: IfNotPresent, Always or Never (default: IfNotPresent)")
	flags.IntVar(&f.port, "image-port", 0, "port that the image listens on, which is also its $PORT (default: 8080)")
	flags.StringArrayVar(&f.env, "env", nil, "NAME=VALUE for the program; may be repeated")
	flags.StringVar(&f.username, "username", "", "user of the image's registry; with --password-stdin")
	flags.BoolVar(&f.passwordStdin, "password-stdin", false, "read the registry's password, or an identity token if there is no --username, from standard input")
}

// executable is what they say of a command or an image.
func (f *programFlags) executable(in io.Reader, command []string) (plane.Executable, error) {
	x := plane.Executable{Image: f.image, Command: command, RuntimeName: f.runtime, PullPolicy: f.pullPolicy, Port: f.port}
	for _, e := range f.env {
		name, v, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return x, misusef("--env %q: write NAME=VALUE", e)
		}
		if x.Env == nil {
			x.Env = map[string]string{}
		}
		x.Env[name] = v
	}
	if f.image == "" && (f.username != "" || f.passwordStdin) {
		return x, misusef("--username and --password-stdin are for the registry of an image; add --image IMAGE")
	}
	var err error
	x.Credentials, err = registryCredentials(in, f.username, f.passwordStdin)
	return x, err
}

// named reports whether a flag is given, beside --runtime, that means nothing
// without an image or a command.
func (f *programFlags) named() bool {
	return f.pullPolicy != "" || f.port != 0 || len(f.env) > 0 || f.username != "" || f.passwordStdin
}

// checked says what is wrong with an executable in the words of the command line.
func checked(x plane.Executable) (json.RawMessage, error) {
	raw, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	_, bad := plane.ParseExecutable(raw)
	return raw, inFlags(bad)
}

// flagOf is by which flag a field of an executable is given.
var flagOf = map[string]string{
	"image": "--image", "runtime": "--runtime", "pull_policy": "--pull-policy", "port": "--image-port", "env": "--env",
	"mount": "--mount", "dir": "--dir", "command": "the command",
}

// inFlags words the refusal of a field as one of its flag.
func inFlags(bad *plane.Error) error {
	if bad == nil {
		return nil
	}
	const at = "spawn_config.executable."
	field := strings.TrimPrefix(bad.Field, at)
	flag, ok := flagOf[field]
	if !ok {
		return misuse{bad}
	}
	text := strings.TrimSuffix(strings.TrimPrefix(bad.Message, at), ".")
	text = strings.Replace(text, field, flag, 1)
	return misusef("%s", strings.Replace(text, "give an image", "add --image IMAGE", 1))
}

// completeProgram completes the values of those flags.
func completeProgram(cmd *cobra.Command) {
	for name, words := range map[string][]cobra.Completion{
		"runtime":     {plane.RuntimeProcess, plane.RuntimeDocker, plane.RuntimeOCI},
		"pull-policy": {plane.PullIfNotPresent, plane.PullAlways, plane.PullNever},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // fails only for flags that there aren't
	}
	_ = cmd.RegisterFlagCompletionFunc("image", func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return imagesHere(&imageStore{}, begun), cobra.ShellCompDirectiveNoFileComp
	})
}
