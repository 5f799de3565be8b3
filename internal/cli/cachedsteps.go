package cli

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/internal/runs"
	"github.com/kilnbuild/kiln/internal/store"
)

// Which step made a layer. An image's history tells the instruction, a run
// the step; BuildKit writes one as "RUN /bin/sh -c make # buildkit", the other as
// "[build 2/5] RUN make". They are compared by what is common to both. Where a
// target has one stage, steps that differ in their text alone, as by the
// values of arguments, are told by their order.

// markCached notes of each entry of a history whether its step was found in
// the cache when the image was last built.
func (a *app) markCached(s *store.Store, d digest.Digest, origin store.Origin, h *layerHistory) {
	var own, others []*runs.Step
	if r, t := a.lastBuild(d, origin); t != nil {
		h.Run, own = r.ID, t.Steps
		for _, other := range r.Targets {
			if other != t {
				others = append(others, other.Steps...)
			}
		}
	} else if record := buildOf(s, d, origin.BuiltAs); record != nil {
		h.Run, own = record.Run, record.All
	}
	h.matchSteps(own, others)
}

// matchSteps marks the entries of a history by the steps of the image's target
// and those of the targets that it may be based on.
func (h *layerHistory) matchSteps(own, others []*runs.Step) {
	steps := writtenSteps(own)
	byOrder := len(stagesOf(steps)) == 1
	rest := writtenSteps(others)
	for n := range h.History {
		kind, text := instructionOf(h.History[n].CreatedBy)
		if !slices.Contains(stepKinds, kind) {
			continue
		}
		at := slices.IndexFunc(steps, func(w writtenStep) bool { return w.kind == kind && w.text == text })
		if at < 0 && byOrder && len(steps) > 0 && steps[0].kind == kind {
			at = 0
		}
		if at >= 0 {
			cached := steps[at].Cached
			h.History[n].Cached, steps = &cached, slices.Delete(steps, at, at+1)
			continue
		}
		if at = slices.IndexFunc(rest, func(w writtenStep) bool { return w.kind == kind && w.text == text }); at >= 0 {
			cached := rest[at].Cached
			h.History[n].Cached = &cached
		}
	}
}

// stepKinds are the instructions that make steps of their own.
var stepKinds = []string{"RUN", "COPY", "ADD", "WORKDIR"}

// A writtenStep is a step of a Dockerfile with its instruction.
type writtenStep struct {
	*runs.Step
	stage, kind, text string
}

// writtenSteps are the steps that make layers, the last of each stage first.
func writtenSteps(all []*runs.Step) []writtenStep {
	var out []writtenStep
	for _, s := range all {
		m := stepName.FindStringSubmatch(s.Name)
		if m == nil || !s.Written() || s.Ended.IsZero() {
			continue
		}
		kind, text := instructionOf(m[3])
		if slices.Contains(stepKinds, kind) {
			out = append(out, writtenStep{s, m[1], kind, text})
		}
	}
	slices.SortStableFunc(out, func(a, b writtenStep) int { return b.Line - a.Line })
	return out
}

// stepName is "[stage 2/5] RUN make", where the stage may be missing.
var stepName = regexp.MustCompile(`^\[(.*?) ?(\d+/\d+)\] (.*)$`)

func stagesOf(steps []writtenStep) []string {
	var out []string
	for _, s := range steps {
		if !slices.Contains(out, s.stage) {
			out = append(out, s.stage)
		}
	}
	return out
}

// runArgs are the build arguments before the command of a RUN in a history:
// "|2 A=1 B=2 /bin/sh -c make".
var runArgs = regexp.MustCompile(`^\|\d+ .*?(/bin/sh -c |$)`)

// instructionOf parts an instruction as a history or the name of a step has
// it, without what only one of them has: flags, shell and quotes.
func instructionOf(text string) (kind, rest string) {
	text = strings.TrimSuffix(strings.TrimSpace(text), "# buildkit")
	kind, rest, _ = strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	for strings.HasPrefix(rest, "--") {
		_, after, _ := strings.Cut(rest, " ")
		rest = strings.TrimSpace(after)
	}
	if kind == "RUN" {
		rest = strings.TrimPrefix(runArgs.ReplaceAllString(rest, ""), "/bin/sh -c ")
	}
	var words []string
	if json.Unmarshal([]byte(rest), &words) == nil {
		rest = strings.Join(words, " ")
	}
	return strings.ToUpper(kind), strings.Join(strings.Fields(rest), " ")
}
