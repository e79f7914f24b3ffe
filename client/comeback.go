package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

const (
	firstBound  = 250 * time.Millisecond
	soonBound   = 2 * time.Second // in the first minute after a loss
	soon        = time.Minute
	lastBound   = 15 * time.Second
	longestHint = time.Minute
	stable      = 10 * time.Second // of being open, after which attempts are counted anew
)

// backOff is how long to wait before a new attempt: anything between nothing
// and a bound that doubles, so that a thousand who lost the same thing don't
// come back at once. Most outages are short: the bound is lower while the loss is
// young. r is of [0, 1).
func backOff(attempt int, sinceLoss time.Duration, r float64) time.Duration {
	bound := lastBound
	if sinceLoss < soon {
		bound = soonBound
	}
	if attempt < 6 {
		bound = min(bound, firstBound<<attempt)
	}
	return time.Duration(r * float64(bound))
}

// closed is the error of a read, with the other side's words if it had any.
func closed(err error) error {
	var c websocket.CloseError
	if errors.As(err, &c) {
		return &Closed{Code: int(c.Code), Reason: c.Reason}
	}
	return err
}

// Refused is a handshake that was answered otherwise.
type Refused struct {
	Status int
	Retry  time.Duration // what Retry-After says, or 0
	Err    error
}

func (e *Refused) Error() string {
	return fmt.Sprintf("the socket was refused with status %d %s", e.Status, http.StatusText(e.Status))
}

// Unwrap gives the error of the handshake.
func (e *Refused) Unwrap() error { return e.Err }

func refused(resp *http.Response, err error) error {
	if resp == nil {
		return &Unreachable{Err: err}
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return &Refused{Status: resp.StatusCode, Retry: time.Duration(seconds) * time.Second, Err: err}
}

// forGood reports whether another attempt would be against somebody's will.
func (k *Socket) forGood(err error) bool {
	var c *Closed
	if errors.As(err, &c) {
		return c.Code == int(websocket.StatusNormalClosure) || c.Code == closeRevoked || k.opts.Reconnect != nil && !k.opts.Reconnect(c)
	}
	status := 0 // of who was asked for a token
	var f *Failure
	var u *UnexpectedStatus
	switch {
	case errors.As(err, &f):
		status = f.Err.Status
	case errors.As(err, &u):
		status = u.Status
	}
	return slices.Contains([]int{400, 401, 403, 404, 405, 410, 413, 415, 422}, status)
}

// wantsToken reports whether a close says that the old token leads nowhere.
func wantsToken(err error) bool {
	var c *Closed
	return errors.As(err, &c) && c.Code >= closeMoved && c.Code < closeRevoked
}

var number = regexp.MustCompile(`\d+(\.\d+)?`)

// hint is how long an error asks to wait.
func hint(err error) time.Duration {
	var c *Closed
	var f *Failure
	var r *Refused
	switch {
	case errors.As(err, &c) && c.Code == int(websocket.StatusTryAgainLater):
		seconds, _ := strconv.ParseFloat(number.FindString(c.Reason), 64)
		return time.Duration(min(seconds, longestHint.Seconds()) * float64(time.Second))
	case errors.As(err, &f):
		return f.Err.Retry
	case errors.As(err, &r):
		return r.Retry
	}
	return 0
}

// losses counts the attempts since a connection was lost.
type losses struct {
	attempt int
	since   time.Time // zero = not yet
}

// next is how long to wait now. r is of [0, 1).
func (l *losses) next(r float64) time.Duration {
	if l.since.IsZero() {
		l.since = time.Now()
	}
	l.attempt++
	return backOff(l.attempt-1, time.Since(l.since), r)
}

// pause waits, less if Retry is called, and reports false if ctx ended first.
func (k *Socket) pause(ctx context.Context, d time.Duration, lost *losses) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.retry:
		*lost = losses{}
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits, and reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
