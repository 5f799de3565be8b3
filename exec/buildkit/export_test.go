package buildkit

import "time"

// SetDrain sets how long Close waits for the last words of a daemon that is well.
func (s *Solver) SetDrain(d time.Duration) { s.drain = d }
