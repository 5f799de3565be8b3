package progress

import (
	"slices"
	"time"

	"github.com/kilnbuild/kiln/exec"
)

// lastWords is how long the end of a target that was built is held back, at
// most: a builder's result can overtake what it has to say of the steps, and
// only with that it can be told whether they were cached.
const lastWords = 500 * time.Millisecond

// give gives the view an item when it is its turn: the end of a target comes
// after the last of its steps.
func (d *Display) give(it item) {
	if it.end {
		d.letGo(func(item) bool { return true })
	}
	if e := it.event; e != nil && e.Kind == exec.Finished && e.Outcome != nil && e.Outcome.Status == exec.Built && !d.model.target(e.Node).settled() {
		d.late = append(d.late, it)
		return
	}
	d.view.take(it)
	if it.event != nil && len(d.late) > 0 {
		d.letGo(func(l item) bool { return l.event.Node == it.event.Node && d.model.target(l.event.Node).settled() })
	}
}

// letGo gives the view the ends that need wait no longer.
func (d *Display) letGo(ready func(item) bool) {
	d.late = slices.DeleteFunc(d.late, func(l item) bool {
		if !ready(l) {
			return false
		}
		d.view.take(l)
		return true
	})
}

// settled reports whether steps of t are known and all have ended.
func (t *target) settled() bool {
	return len(t.steps) > 0 && !slices.ContainsFunc(t.steps, func(s *step) bool { return !s.ended && !s.vertex.Internal })
}
