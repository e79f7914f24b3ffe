package controller

import (
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	crashWithin = time.Minute // an end this soon after the start counts; a longer life resets
	crashLimit  = 5           // so many make a loop
	crashMost   = time.Minute // longest pause between starts
)

// unasked reports whether a backend ended without anybody's wish, and not for
// a fault of the machine under it.
func unasked(s plane.State) bool {
	if s.Exit != nil && s.Exit.Fault {
		return false
	}
	switch s.Reason {
	case "", plane.StartupTimeout, plane.InternalError:
		return s.Status == plane.Terminated
	}
	return false
}

// nextCrash is what a key's crash count becomes when a backend of it ends
// after alive, and whether that is something else.
func nextCrash(was store.Crash, s plane.State, alive time.Duration, at time.Time) (store.Crash, bool) {
	switch {
	case alive >= crashWithin:
		return store.Crash{}, was.Count > 0
	case !unasked(s):
		return was, false
	}
	next := store.Crash{Count: was.Count + 1, Last: at}
	if s.Exit != nil {
		next.Exit, next.Output = *s.Exit, s.Exit.Output
	}
	next.Exit.Output = ""
	return next, true
}

// crashPause is how long after the last end the next start may be.
func crashPause(count int) time.Duration {
	if count < crashLimit {
		return 0
	}
	pause := time.Second << min(count-crashLimit, 6)
	return min(pause, crashMost)
}

// crashed is the error for a connect at now, or nil if it may start.
func crashed(c store.Crash, now time.Time) *plane.Error {
	left := c.Last.Add(crashPause(c.Count)).Sub(now)
	if c.Count < crashLimit || left <= 0 {
		return nil
	}
	why := c.Exit.How()
	e := plane.NewError(plane.CrashLoop, fmt.Sprintf(
		"It ended %d times within %d s of its start, the last time %s. The next start is possible in %d s.",
		c.Count, int(crashWithin.Seconds()), why, ceilSeconds(left)))
	e.Retry, e.Output = left, c.Output
	return e
}

func ceilSeconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}
