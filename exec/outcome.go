package exec

import (
	"fmt"
	"time"

	"github.com/kilnbuild/kiln/graph"
)

// A Status is how a node came out. Its text is as people and reports read it.
type Status int

// How a node may come out.
const (
	Cancelled Status = iota // stopped, or never begun, because of a failure elsewhere or ctx
	Built
	Failed
	Skipped // not begun, because something it needs or depends on failed
)

// String returns the status in one word: "built", "failed" and so on.
func (s Status) String() string {
	switch s {
	case Built:
		return "built"
	case Failed:
		return "failed"
	case Skipped:
		return "skipped"
	}
	return "cancelled"
}

// An Outcome is the end of one node.
type Outcome struct {
	Node   *graph.Node
	Status Status
	Output Output
	Err    error // for Failed, the cause; for Skipped, a *SkipError; for Cancelled, the cause: a *StopError, or that of Run's context
	Times  Times
}

// Times of a node, by kiln's clock. A zero time was not reached.
type Times struct{ Queued, Started, Solved, Exporting, Finished time.Time }

// A SkipError says which need kept a node from being built.
type SkipError struct {
	Need string // what the node needs or depends on itself
	Root string // the node that failed, which is Need or something that Need needs
}

func (e *SkipError) Error() string {
	if e.Root == "" || e.Root == e.Need {
		return fmt.Sprintf("needs %s, which was not built", e.Need)
	}
	return fmt.Sprintf("needs %s, which was not built because %s failed", e.Need, e.Root)
}

// A StopError is the cause of a cancellation by the failure of another node.
// It does not wrap that failure, which is told by its own outcome.
type StopError struct{ Failed string }

func (e *StopError) Error() string { return fmt.Sprintf("stopped because %s failed", e.Failed) }

// A CacheError is returned by Export, beside its Output, if all was exported
// but a cache. It is told as a warning, and the node counts as built.
type CacheError struct{ Err error }

func (e *CacheError) Error() string { return "the cache was not exported: " + e.Err.Error() }
func (e *CacheError) Unwrap() error { return e.Err }

// A SourceError is a failure with a place in a file that the user wrote, most
// often a line of a Dockerfile.
type SourceError struct {
	File      string // as the target names it, relative to the working directory where it is local
	StartLine int    // from 1
	EndLine   int    // inclusive
	Source    []byte // the whole file, for the snippet
	Stage     string // of the Dockerfile, "" if unknown
	Command   string // of the RUN step that failed; "" if it was none
	ExitCode  int    // of that command; -1 if it did not end by itself
	Log       []byte // the end of the step's output
	Err       error  // the daemon's words
}

func (e *SourceError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.StartLine, e.Err) }
func (e *SourceError) Unwrap() error { return e.Err }
