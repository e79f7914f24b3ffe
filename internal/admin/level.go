package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// ParseLevel reads debug, info, warn or error.
func ParseLevel(text string) (slog.Level, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: use debug, info, warn or error", strings.TrimSpace(text))
}

func (a *Admin) getLevel(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintln(w, strings.ToLower(a.level.Level().String()))
}

func (a *Admin) putLevel(w http.ResponseWriter, r *http.Request) {
	const longest = 64 // bytes; the longest word has five
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longest))
	if err != nil {
		http.Error(w, "Give debug, info, warn or error as the body.", http.StatusBadRequest)
		return
	}
	level, err := ParseLevel(string(body))
	if err != nil {
		http.Error(w, err.Error()+".", http.StatusUnprocessableEntity)
		return
	}
	before := a.level.Level()
	a.level.Set(level)
	// At the level of what isn't filtered, so that the log itself tells why it changed.
	a.log.Log(r.Context(), max(before, level, slog.LevelInfo), "log level changed", "from", before.String(), "to", level.String())
	a.getLevel(w, r)
}
