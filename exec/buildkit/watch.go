package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// A Health says how closely a daemon is watched. A connection to a frozen
// daemon stays open for ever and says nothing, so it has to be asked.
type Health struct {
	Every time.Duration // between two questions; 0 is 5 s
	Limit time.Duration // for an answer, for a busy daemon may be slow; 0 is 15 s
}

// What is in place of the zero values of Health.
const (
	healthEvery = 5 * time.Second
	healthLimit = 15 * time.Second
)

// Watch asks the daemon for a sign of life until ctx is done, and then
// returns nil. If the daemon does not answer it returns an error that wraps
// ErrDaemonLost and says which daemon it is, since when it has not answered,
// and what to do. What a daemon is busy with does not matter, as long as it
// answers.
func (c *Conn) Watch(ctx context.Context, h Health) error {
	limit := cmp.Or(h.Limit, healthLimit)
	tick := time.NewTicker(cmp.Or(h.Every, healthEvery))
	defer tick.Stop()
	answered := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := c.answers(ctx, limit, answered)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return c.lost(err)
		}
		answered = time.Now()
	}
}

// answers returns why the daemon must be given up, nil if it answers.
func (c *Conn) answers(ctx context.Context, limit time.Duration, answered time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := c.Alive(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("it has not answered since %s (for %v): it is stopped, or its machine is asleep, cut off or out of memory",
			answered.Format(time.TimeOnly), time.Since(answered).Round(time.Second))
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// errBroken is told when a connection ends in the middle of a run.
var errBroken = errors.New("it died, or broke the connection off")

// lost wraps what became of the daemon in the middle of a run.
func (c *Conn) lost(err error) error {
	var who string
	if c.name != "" {
		who = redactURL(c.name) + ": "
	}
	return fmt.Errorf("%w: %s%w. %s", ErrDaemonLost, who, err, c.hint)
}

// watch ends the run when the daemon does not answer.
func (s *Solver) watch() {
	defer s.wait.Done()
	if err := s.conn.Watch(s.run, s.opt.Health); err != nil {
		s.cancel(err)
	}
}
