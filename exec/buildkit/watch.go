package buildkit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	watchEvery = 2 * time.Second  // between two questions to the daemon
	watchLimit = 15 * time.Second // for an answer: a busy daemon may be slow
)

// watch asks the daemon for a sign of life until the run ends. A connection
// to a frozen daemon stays open for ever and says nothing.
func (s *Solver) watch() {
	defer s.wait.Done()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.run.Done():
			return
		case <-tick.C:
		}
		if err := s.ask(); err != nil {
			s.lost(err)
			return
		}
	}
}

// ask returns why the daemon must be given up, nil if it answers or the run
// has ended.
func (s *Solver) ask() error {
	ctx, cancel := context.WithTimeout(s.run, watchLimit)
	defer cancel()
	err := s.conn.alive(ctx)
	switch {
	case err == nil || s.run.Err() != nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("it has not answered for %v; is it stopped, or is the machine out of memory? %w", watchLimit, err)
	}
	return fmt.Errorf("it does not answer any more; its log may say why: %w", err)
}
