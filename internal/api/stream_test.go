package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStreamsSayNothingNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		s, ctx := openStream(w, httptest.NewRequest("GET", "/", nil))
		if err := s.send([]byte(`{"status":"loading"}`), "loading"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		_ = s.send([]byte("two\nlines\r\n"), "")
		_ = s.send(nil, "")
		time.Sleep(14 * time.Second)
		s.mu.Lock() // the timer writes on a goroutine of its own
		before := w.Body.String()
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		s.close()
		time.Sleep(time.Hour)
		const want = "data: {\"status\":\"loading\"}\nid: loading\n\ndata: two\ndata: lines\n\ndata: \n\n"
		if before != want || w.Body.String() != want+":\n\n" {
			t.Errorf("%q", w.Body.String())
		}
		if ctx.Err() == nil || !w.Flushed {
			t.Error("not closed or not flushed")
		}
	})
}

type broken struct{ http.ResponseWriter }

func (broken) Write([]byte) (int, error) { return 0, http.ErrHandlerTimeout }

func TestAClientThatIsGoneEndsItsStream(t *testing.T) {
	s, ctx := openStream(broken{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
	defer s.close()
	if err := s.send([]byte("x"), ""); err == nil || ctx.Err() == nil {
		t.Errorf("err %v, context %v", err, ctx.Err())
	}
}

func TestLongLinesAreCutAndTheLastNeedsNoEnd(t *testing.T) {
	var got []int
	text := strings.Repeat("x", maxLine+10) + "\n\nlast"
	if err := eachLine(strings.NewReader(text), func(line []byte) error {
		got = append(got, len(line))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 || got[0] != maxLine || got[1] != 10 || got[2] != 0 || got[3] != 4 {
		t.Error(got)
	}
}
