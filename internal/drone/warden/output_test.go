package warden

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestOutputKeepsTheLastFilesAndItsOffsets(t *testing.T) {
	dir := t.TempDir()
	line := strings.Repeat("x", 1023) + "\n"
	var all strings.Builder
	o := &output{dir: dir}
	for i := range 3 * outputFile / len(line) {
		l := fmt.Sprintf("%07d", i) + line[7:]
		all.WriteString(l)
		if _, err := o.Write([]byte(l)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 { // a new warden takes over
			o.close()
			o = &output{dir: dir}
		}
	}
	o.close()
	var kept bytes.Buffer
	end, err := readOutput(dir, 0, &kept)
	if err != nil || end != int64(all.Len()) {
		t.Fatalf("offset %d of %d, %v", end, all.Len(), err)
	}
	if n := kept.Len(); n < outputFile || n > 2*outputFile+len(line) || !strings.HasSuffix(all.String(), kept.String()) {
		t.Errorf("kept %d bytes", n)
	}
	for _, n := range []int{1, 2, 5000} {
		var tail bytes.Buffer
		if _, err := readOutput(dir, tailOffset(dir, n), &tail); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(tail.String(), "\n"); got != n || !strings.HasSuffix(all.String(), tail.String()) {
			t.Errorf("the last %d lines are %d", n, got)
		}
	}
}

func TestTailCountsAnUnfinishedLine(t *testing.T) {
	for text, want := range map[string]string{"a\nb\nc": "b\nc", "a\nb\nc\n": "b\nc\n", "a": "a", "": "", "\n\n\n": "\n\n"} {
		dir := t.TempDir()
		o := &output{dir: dir}
		if _, err := o.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		o.close()
		var got bytes.Buffer
		if _, err := readOutput(dir, tailOffset(dir, 2), &got); err != nil || got.String() != want {
			t.Errorf("of %q: %q, %v", text, got.String(), err)
		}
	}
}

func TestDrainLeavesTheRestToTheNext(t *testing.T) {
	r, w, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o := &output{dir: t.TempDir()}
	defer o.close()
	for _, text := range []string{"one\n", "two\n"} {
		ctx, cancel := context.WithCancel(t.Context())
		changed := o.wait()
		done := make(chan struct{})
		_ = r.SetReadDeadline(time.Time{})
		go func() { defer close(done); drain(ctx, r, o, func(err error) { t.Error(err) }) }()
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
		<-changed
		cancel()
		<-done
	}
	_ = w.Close()
	_ = r.SetReadDeadline(time.Time{})
	drain(t.Context(), r, o, func(err error) { t.Error(err) })
	var got bytes.Buffer
	if _, err := readOutput(o.dir, 0, &got); err != nil || got.String() != "one\ntwo\n" {
		t.Errorf("%q, %v", got.String(), err)
	}
}
