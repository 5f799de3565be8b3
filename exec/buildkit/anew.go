package buildkit

import (
	"errors"
	"sync"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

// Trying again. The daemon remembers that a step has failed for as long as
// any build holds the step, and the shared build holds it to the end of the
// run: asked for the same step again, it repeats its error without trying. A
// step is known by the digest of its definition. So a step that the network
// has failed is asked for with a mark in it that means nothing.

// anew knows which steps of the run the network has failed.
type anew struct {
	// mu guards failed.
	mu     sync.Mutex
	failed map[string]bool // by digest
}

// note remembers the step that err comes from, if it is one.
func (a *anew) note(err error) {
	var step *errdefs.VertexError
	if !errors.As(err, &step) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = map[string]bool{}
	}
	a.failed[step.Vertex.Digest] = true
}

// has reports whether a step has failed, and whether any has.
func (a *anew) has(dgst string) (this, any bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed[dgst], len(a.failed) > 0
}

// mark is what makes a step another for the daemon, which ignores it.
const mark = "kiln.again"

// putMark makes op another for the daemon. It may have several marks.
func putMark(op *pb.Op, mark string) {
	if op.Constraints == nil {
		op.Constraints = &pb.WorkerConstraints{}
	}
	op.Constraints.Filter = append(op.Constraints.Filter, mark)
}

// rename returns def with marks in the steps that have failed, as many as it
// takes. What comes with targets that j reads was built, and stays as it is:
// with another name it might be built again, and be another.
func (a *anew) rename(j *job, def *pb.Definition) (*pb.Definition, error) {
	if _, any := a.has(""); !any {
		return def, nil
	}
	for changed := true; changed; {
		var err error
		changed = false
		def, err = rewriteOps(def, func(dgst string, op *pb.Op) (bool, error) {
			failed, _ := a.has(dgst)
			if !failed || j.inherits(dgst) {
				return false, nil
			}
			putMark(op, mark)
			changed = true
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return def, nil
}
