package buildkit

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

// Lost steps. Where two builds ask for equal steps at once, BuildKit has one
// of them do it for both. If that one is given up in this moment, because its
// client was killed, say, the other can be joined to what was just forgotten
// (moby/buildkit issue 3635). It fails then, with words that mean nothing to
// anybody, and so does each later build of the step until the daemon ends,
// as the forgotten one is left where equal steps are looked up. A step that
// ignores the cache is not joined to it, and takes its place. So what was
// lost is asked for again like that, at once.

// lostForms are the daemon's words for a step that it looks for in vain.
var lostForms = []string{
	"failed to get state for index",
	"inconsistent graph state",
	"inactive parent",
}

// isLost reports whether err says that the daemon has lost a step.
func isLost(err error) bool {
	var exit *gatewaypb.ExitError
	if err == nil || errors.As(err, &exit) { // a command has failed, whatever it says
		return false
	}
	return slices.ContainsFunc(lostForms, func(form string) bool { return strings.Contains(err.Error(), form) })
}

// warnOfLost tells that a job is built on without the cache.
func (s *Solver) warnOfLost(j *job, what string) {
	s.router.warn(j.name, "the daemon has lost what another build had begun and gave up; it is built again, without the cache: "+what, gateway.WarnOpts{})
}

// keepFinding calls solve with def, and again as long as the daemon loses
// steps that can be asked for without the cache. It returns the definition of
// the last call.
func (s *Solver) keepFinding(j *job, def *pb.Definition, solve func(*pb.Definition) error) (*pb.Definition, error) {
	for {
		err := solve(def)
		if !isLost(err) {
			return def, err
		}
		again, steps, broken := withoutCache(j, def, err)
		if broken != nil || len(steps) == 0 {
			return def, errors.Join(err, broken)
		}
		s.warnOfLost(j, strings.Join(steps, ", "))
		def = again
	}
}

// lostMark is the mark of steps that were lost: see putMark.
const lostMark = "kiln.lost"

// withoutCache returns def with the steps that were lost ignoring the cache,
// and the names of these steps. They are those that err names; all if it names
// none, as the step of the other build may have another name. None is what
// comes with targets that j reads, or ignored the cache for this reason before.
func withoutCache(j *job, def *pb.Definition, err error) (*pb.Definition, []string, error) {
	var all []string // digests, in the order of def
	_, broken := rewriteOps(def, func(dgst string, op *pb.Op) (bool, error) {
		if !j.inherits(dgst) && op.Op != nil && len(op.Inputs) > 0 && !slices.Contains(op.GetConstraints().GetFilter(), lostMark) {
			all = append(all, dgst)
		}
		return false, nil
	})
	if broken != nil {
		return nil, nil, broken
	}
	named := slices.DeleteFunc(slices.Clone(all), func(dgst string) bool { return !blames(err, dgst, stepName(def, dgst)) })
	if len(named) == 0 {
		named = all
	}
	anew := &pb.Definition{Def: def.Def, Source: def.Source, Metadata: maps.Clone(def.Metadata)}
	var steps []string
	for _, dgst := range named {
		md := &pb.OpMetadata{}
		if old := def.Metadata[dgst]; old != nil {
			md = old.CloneVT()
		}
		md.IgnoreCache = true
		anew.Metadata[dgst] = md
		steps = append(steps, cmp.Or(stepName(def, dgst), dgst))
	}
	anew, broken = rewriteOps(anew, func(dgst string, op *pb.Op) (bool, error) {
		if !slices.Contains(named, dgst) {
			return false, nil
		}
		putMark(op, lostMark)
		return true, nil
	})
	return anew, steps, broken
}

// blames reports whether err is about a step, by its digest or by its name.
func blames(err error, dgst, name string) bool {
	var step *errdefs.VertexError
	return errors.As(err, &step) && step.Vertex.Digest == dgst || name != "" && strings.Contains(err.Error(), name)
}

// stepName is the name of a step, as the daemon says it; "" if it has none.
func stepName(def *pb.Definition, dgst string) string {
	return def.Metadata[dgst].GetDescription()["llb.customname"]
}
