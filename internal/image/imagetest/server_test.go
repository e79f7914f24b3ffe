package imagetest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"plane/internal/image/imagetest"
)

// server runs the program outside of any image.
func server(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the program is for Linux")
	}
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, imagetest.Program(t, imagetest.Server), 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env = []string{"PORT=0", "OF=test"}
	return c
}

func TestTheServerOfTestsServes(t *testing.T) {
	c := server(t, "says", "a line", "3")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	said, port := 0, ""
	for lines := bufio.NewScanner(out); port == "" && lines.Scan(); {
		if lines.Text() == "a line" {
			said++
		}
		if _, p, ok := strings.Cut(lines.Text(), "[::]:"); ok {
			port = p
		}
	}
	if said != 3 {
		t.Errorf("said it %d times", said)
	}
	at := "127.0.0.1:" + port
	answer, err := http.Get("http://" + at + "/env")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var env map[string]string
	if err := json.NewDecoder(answer.Body).Decode(&env); err != nil || env["OF"] != "test" {
		t.Errorf("environment %v, %v", env, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+at+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte("echo")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := ws.Read(ctx); err != nil || string(got) != "echo" {
		t.Errorf("echoed %q, %v", got, err)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil { // not its signal to end politely
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Error("SIGINT was taken for SIGTERM")
	}
}

func TestTheServerOfTestsEndsAsAsked(t *testing.T) {
	var exit *exec.ExitError
	if err := server(t, "exit", "7").Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("ended with %v", err)
	}
}
