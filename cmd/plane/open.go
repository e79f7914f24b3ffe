package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane/client"
)

func newOpenCommand() *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "open KEY",
		Short: "Start or find the backend of a key and open it in the browser",
		Long: "Start or find the backend of a key, wait until it is ready and open it in the\n" +
			"browser: $BROWSER, or the system's. Without one the URL is printed.",
		Example: "  plane open doc-17\n  plane open board/doc-17",
		GroupID: groupUse,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			req, err := f.request(cmd.Context(), c, cmd, given, nil)
			if err != nil {
				return err
			}
			got, err := f.connected(cmd, c, req)
			if err != nil {
				return err
			}
			return openURL(cmd, got, f.json)
		},
	}
	f.remote.bind(cmd.Flags())
	f.bindNamespace(cmd.Flags())
	cmd.Flags().StringVar(&f.app, "app", "", "app of KEY; KEY is then the whole name")
	cmd.ValidArgsFunction = completeKeys(&f.remote)
	completeFlags(cmd, &f.remote)
	return cmd
}

// openURL shows a backend in the browser: by its key's URL, which also finds
// later backends, where there is one.
func openURL(cmd *cobra.Command, got client.ConnectResponse, asJSON bool) error {
	url := got.URL
	if got.URLs.Key != nil {
		url = *got.URLs.Key
	}
	if !asJSON {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), url); err != nil {
			return err
		}
	}
	failed := startBrowser(cmd.Context(), url)
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"url": url, "opened": failed == nil, "backend_id": got.BackendID, "key": got.Key})
	}
	if failed != nil {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "plane: %s; open the URL yourself\n", failed)
	}
	return nil
}

// browserTries is how long a browser may take to say that it can't.
const browserTries = 2 * time.Second

// startBrowser opens url, or says why it couldn't.
func startBrowser(ctx context.Context, url string) error {
	words, err := browserCommand(os.Getenv, runtime.GOOS)
	if err != nil {
		return err
	}
	placed := false
	for i, w := range words {
		if strings.Contains(w, "%s") {
			words[i], placed = strings.ReplaceAll(w, "%s", url), true
		}
	}
	if !placed {
		words = append(words, url)
	}
	browser := exec.Command(words[0], words[1:]...) // not of ctx: it outlives this command
	if err := browser.Start(); err != nil {
		return fmt.Errorf("the browser %s can't be started", words[0])
	}
	ended := make(chan error, 1)
	go func() { ended <- browser.Wait() }() // the last thing that this process does
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the browser %s failed", words[0])
		}
	case <-time.After(browserTries):
	case <-ctx.Done():
	}
	return nil
}

// browserCommand is how to open a URL here.
func browserCommand(env func(string) string, system string) ([]string, error) {
	// By custom a list of them, separated by colons; the first is as good as any.
	if first, _, _ := strings.Cut(env("BROWSER"), ":"); first != "" {
		return strings.Fields(first), nil
	}
	if system == "darwin" {
		return []string{"open"}, nil
	}
	if env("DISPLAY") == "" && env("WAYLAND_DISPLAY") == "" {
		return nil, errors.New("there is no display and no $BROWSER here")
	}
	if _, err := exec.LookPath("xdg-open"); err != nil {
		return nil, errors.New("there is neither $BROWSER nor xdg-open here")
	}
	return []string{"xdg-open"}, nil
}
