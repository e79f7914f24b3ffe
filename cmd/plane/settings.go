package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"plane/internal/admin"
)

// settings gives the flags of a process their twins: PLANE_FLAG_NAME in the
// environment, then flag-name in the file of --config. What the command line
// says wins over the environment, which wins over the file. A setting that no
// flag has is an error.
func settings(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "YAML file with settings named as the flags (PLANE_CONFIG)")
	cmd.Flags().String("log-level", "info", "debug, info, warn or error (PLANE_LOG_LEVEL)")
	bindAdmin(cmd.Flags(), "")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			name := "PLANE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			if v, ok := os.LookupEnv(name); ok && !f.Changed && f.Name != "help" {
				if e := cmd.Flags().Set(f.Name, v); e != nil {
					err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
				}
			}
		})
		if err != nil {
			return err
		}
		path, err := cmd.Flags().GetString("config")
		if err != nil || path == "" {
			return err
		}
		return settingsFile(cmd.Flags(), path)
	}
}

func settingsFile(flags *pflag.FlagSet, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read --config: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	m := doc.Content[0]
	if m.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: write one setting a line, NAME: VALUE", path, m.Line)
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		name, value := m.Content[i], m.Content[i+1]
		f := flags.Lookup(name.Value)
		if f == nil || name.Value == "config" || name.Value == "help" {
			return fmt.Errorf("%s:%d: there is no setting %q; the settings are those of --help", path, name.Line, name.Value)
		}
		if f.Changed {
			continue
		}
		values := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			values = value.Content
		}
		for _, v := range values {
			if v.Kind != yaml.ScalarNode {
				return fmt.Errorf("%s:%d: %s must be a value or a list of values", path, v.Line, name.Value)
			}
			if err := flags.Set(name.Value, v.Value); err != nil {
				return fmt.Errorf("%s:%d: %s: %w", path, v.Line, name.Value, err)
			}
		}
	}
	return nil
}

// processLog is JSON lines on standard error, from --log-level on; the level
// may be changed while the process runs.
func processLog(cmd *cobra.Command, part string) (*slog.Logger, *slog.LevelVar, error) {
	text, err := cmd.Flags().GetString("log-level")
	if err != nil {
		return nil, nil, err
	}
	first, err := admin.ParseLevel(text)
	if err != nil {
		return nil, nil, misusef("--log-level: %v", err)
	}
	level := new(slog.LevelVar)
	level.Set(first)
	return jsonLog(os.Stderr, level).With("part", part), level, nil
}

func jsonLog(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

// maxDevLog is how large dev's log may be when it starts, before it begins anew.
const maxDevLog = 8 << 20 // bytes

// devLog is a file: the terminal belongs to the backends' output.
func devLog(path string) (*slog.Logger, *slog.LevelVar, error) {
	if st, err := os.Stat(path); err == nil && st.Size() > maxDevLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, nil, err
		}
	}
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	level := new(slog.LevelVar)
	return jsonLog(f, level), level, nil
}
