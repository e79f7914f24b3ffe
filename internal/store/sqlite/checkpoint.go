package sqlite

import (
	"errors"
	"log/slog"
	"sync"
)

const (
	// logMost is the size of the log, in pages of 4 KiB, at which the writer
	// itself moves what is left of it into the database file.
	logMost = 8192
	// checkpointEvery is how many commits there are between checkpoints
	// beside the writer, so that the former has next to nothing left to do.
	checkpointEvery = 200
)

// checkpointer moves the log into the database file while the writer goes on:
// a checkpoint flushes the whole file, which would delay commits by
// milliseconds.
type checkpointer struct {
	c       *conn
	log     *slog.Logger
	commits int // since the last one; the writer's
	due     chan struct{}
	stop    chan struct{}
	stopped chan struct{}
	ending  sync.Once
}

func newCheckpointer(path string, log *slog.Logger) (*checkpointer, error) {
	c, err := connect(path, "journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	k := &checkpointer{c: c, log: log, due: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	go k.run()
	return k, nil
}

// wake is called by the writer after each commit.
func (k *checkpointer) wake() {
	if k.commits++; k.commits < checkpointEvery {
		return
	}
	select {
	case k.due <- struct{}{}:
		k.commits = 0
	default:
	}
}

func (k *checkpointer) close() error {
	k.ending.Do(func() { close(k.stop) })
	<-k.stopped
	return k.c.close()
}

func (k *checkpointer) run() {
	defer close(k.stopped)
	for {
		select {
		case <-k.stop:
			return
		case <-k.due:
		}
		err := k.c.query("PRAGMA wal_checkpoint(PASSIVE)", func(r *row) error {
			if busy := r.number(); busy != 0 {
				return errors.New("busy")
			}
			return nil
		})
		if err != nil { // the next one does its work
			k.log.Warn("checkpoint of the store failed", "path", k.c.path, "error", err)
		}
	}
}
