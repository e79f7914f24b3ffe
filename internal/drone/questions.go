package drone

import (
	"context"
	"errors"
	"io"

	"plane/internal/runtime"
	"plane/internal/wire"
)

const logsPart = 32 << 10 // bytes a message

// askIdle has the backend's owner decide whether it may stop.
func (l *link) askIdle(m wire.IdleAsk) {
	answer := func(yes bool, why string) {
		// If it can't be sent, the controller asks again on the next connection.
		_ = l.conn.Send(wire.IdleAnswer{ID: m.ID, Backend: m.Backend, Yes: yes, Why: why})
	}
	r := l.roster.get(m.Backend)
	if r == nil {
		answer(false, "it does not run here")
		return
	}
	r.mail.put(note{ask: answer})
}

// sendLogs answers with output, part by part, as fast as the peer takes it.
func (l *link) sendLogs(ctx context.Context, m wire.LogsAsk) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	if old := l.logs[m.ID]; old != nil {
		old()
	}
	l.logs[m.ID] = cancel
	l.mu.Unlock()
	l.helpers.Go(func() {
		defer l.stopLogs(m.ID)
		end := wire.LogsPart{ID: m.ID, EOF: true}
		if err := l.copyLogs(ctx, m); err != nil {
			if ctx.Err() != nil {
				return
			}
			end.Error = err.Error()
			if errors.Is(err, runtime.ErrGone) {
				end.Error = "No output of this backend is kept here any more."
			}
		}
		_ = l.conn.SendBulk(ctx, end) // fails only if the connection has ended
	})
}

func (l *link) copyLogs(ctx context.Context, m wire.LogsAsk) error {
	out, err := l.output(ctx, m)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	for buf := make([]byte, logsPart); ; {
		n, err := out.Read(buf)
		if n > 0 {
			part := wire.LogsPart{ID: m.ID, Data: append([]byte(nil), buf[:n]...)}
			if err := l.conn.SendBulk(ctx, part); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// output asks every runtime: the backend may have ended, and its order be forgotten.
func (l *link) output(ctx context.Context, m wire.LogsAsk) (io.ReadCloser, error) {
	err := error(runtime.ErrGone)
	for _, rt := range l.Runtimes {
		logger, ok := rt.(runtime.Logger)
		if !ok {
			continue
		}
		out, e := logger.Output(ctx, m.Backend, int(m.Tail), m.Follow)
		if e == nil {
			return out, nil
		}
		if !errors.Is(e, runtime.ErrGone) {
			err = e
		}
	}
	return nil, err
}

func (l *link) stopLogs(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cancel := l.logs[id]; cancel != nil {
		cancel()
		delete(l.logs, id)
	}
}
