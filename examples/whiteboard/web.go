package whiteboard

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

func (s *Server) routes() http.Handler {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic("whiteboard: no page: " + err.Error()) // it is compiled in
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", page(http.FileServerFS(files)))
	mux.HandleFunc("GET /ws", s.room.visit)
	mux.HandleFunc("GET /state", s.state)
	return mux
}

// page lets the page load from here only.
func page(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// state is for curl and scripts.
func (s *Server) state(w http.ResponseWriter, _ *http.Request) {
	r := s.room
	r.mu.Lock()
	state := struct {
		Key        string `json:"key"`
		Generation int64  `json:"generation"`
		Durable    bool   `json:"durable"`
		Restored   bool   `json:"restored"`
		Strokes    int    `json:"strokes"`
		Visitors   int    `json:"visitors"`
	}{r.hello.Key, r.hello.Generation, r.hello.Durable, r.hello.Restored, len(r.board.Strokes), len(r.here)}
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(state) // whoever asked has left
}
