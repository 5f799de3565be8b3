package buildkit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/graph"
)

// Examining: BuildKit's own checks, and what a Dockerfile says, for all
// targets and without a daemon. As in foresee.go, base images are guessed to
// be empty.

// An Examination is what is found in the Dockerfile of one target.
type Examination struct {
	Target   string
	Text     *DockerfileText // nil if it is not on this machine, or only another frontend can read it
	Findings []Finding       // of BuildKit's checks, by line
}

// A Finding is one of BuildKit's checks that something does not pass, or an
// error for which the Dockerfile could not be built.
type Finding struct {
	Rule   string // BuildKit's name, "StageNameCasing"; "" for an error
	Detail string
	Doc    string    // address of a page about the rule; "" if there is none
	Range  hcl.Range // whole lines of the Dockerfile
}

// Checks are the names of BuildKit's checks that Examine may find something
// by, in alphabetical order; experiments if the Dockerfile asks for them. What
// needs a base image is not among them.
func Checks() []string {
	rules := []linter.LinterRuleI{
		&linter.RuleStageNameCasing, &linter.RuleFromAsCasing, &linter.RuleNoEmptyContinuation, &linter.RuleConsistentInstructionCasing,
		&linter.RuleDuplicateStageName, &linter.RuleReservedStageName, &linter.RuleJSONArgsRecommended, &linter.RuleMaintainerDeprecated,
		&linter.RuleUndefinedArgInFrom, &linter.RuleWorkdirRelativePath, &linter.RuleUndefinedVar, &linter.RuleMultipleInstructionsDisallowed,
		&linter.RuleLegacyKeyValueFormat, &linter.RuleRedundantTargetPlatform, &linter.RuleSecretsUsedInArgOrEnv, &linter.RuleInvalidDefaultArgInFrom,
		&linter.RuleFromPlatformFlagConstDisallowed, &linter.RuleCopyIgnoredFile, &linter.RuleInvalidDefinitionDescription,
		&linter.RuleExposeProtoCasing, &linter.RuleExposeInvalidFormat,
	}
	var names []string
	for _, r := range rules {
		names = append(names, r.RuleName())
	}
	slices.Sort(names)
	return names
}

// Examine reads and checks the Dockerfiles of the targets of g, in its order.
// It asks no daemon and fetches nothing. Targets whose files are not there
// are left without findings: other checks tell of them. The error is that of
// ctx.
func Examine(ctx context.Context, g *graph.Graph, o ForeseeOptions) ([]*Examination, error) {
	f, err := newForeseer(ctx, g, o)
	if err != nil {
		return nil, err
	}
	x := &examiner{f: f, texts: map[string]*DockerfileText{}, checked: map[string]func() []Finding{}}
	out := make([]*Examination, len(f.views))
	eg := &errgroup.Group{}
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i, v := range f.views {
		out[i] = &Examination{Target: v.Target}
		eg.Go(func() error {
			if ctx.Err() == nil && v.j != nil {
				x.look(out[i], v)
			}
			return nil
		})
	}
	_ = eg.Wait() // none returns an error
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// An examiner reads each Dockerfile once, and checks it once for each set of
// settings that make a difference to it.
type examiner struct {
	f *foreseer
	// mu guards the fields below.
	mu      sync.Mutex
	texts   map[string]*DockerfileText  // by path and content
	checked map[string]func() []Finding // by these and the settings
}

func (x *examiner) look(out *Examination, v *view) {
	j := v.j
	if j.load(x.f.s) != nil || j.source == nil || j.req.Frontend != builtin || j.syntax != "" && !isDockerfileFrontend(j.syntax) {
		return
	}
	name := j.req.Dockerfile
	if j.req.Inline != "" {
		name = ""
	}
	key := name + "\x00" + string(j.source)
	x.mu.Lock()
	text := x.texts[key]
	if text == nil {
		text = readDockerfile(name, j.source)
		x.texts[key] = text
	}
	key += "\x00" + x.settings(j, text)
	check, ok := x.checked[key]
	if !ok {
		check = sync.OnceValue(func() []Finding { return x.check(j, text) })
		x.checked[key] = check
	}
	x.mu.Unlock()
	out.Text, out.Findings = text, check()
}

// settings writes down all that a check of the Dockerfile depends on beside
// its text.
func (x *examiner) settings(j *job, text *DockerfileText) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(j.req.Attrs)) {
		arg, isArg := strings.CutPrefix(key, "build-arg:")
		if strings.HasPrefix(key, "label:") || isArg && !text.mentions(arg) {
			continue
		}
		fmt.Fprintf(&b, "%q=%q\n", key, j.req.Attrs[key])
	}
	for _, in := range j.req.Inputs {
		fmt.Fprintf(&b, "%q\n", in.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(j.mounts)) {
		fmt.Fprintf(&b, "%q=%q\n", name, j.mounts[name].root)
	}
	return b.String()
}

// check runs BuildKit's checks as the frontend does when it is asked for them.
func (x *examiner) check(j *job, text *DockerfileText) []Finding {
	gw := x.f.s.newOffline(j, x.f.s.unknown(j))
	gw.attrs["requestid"] = lint.RequestLint
	res, err := runFrontend(x.f.s.run, gw)
	if errors.Is(err, errSurvey) {
		return nil
	}
	if err != nil {
		return []Finding{{Detail: err.Error(), Range: text.lines(1, 1)}}
	}
	var said lint.LintResults
	if err := json.Unmarshal(res.Metadata["result.json"], &said); err != nil {
		return nil // an answer that this version of the frontend does not give
	}
	var out []Finding
	for _, w := range said.Warnings {
		f := Finding{Rule: w.RuleName, Detail: w.Detail, Doc: w.URL, Range: text.located(w.Location)}
		if f.Rule != undefinedVariable || text.isClosed(f.Range.Start.Line) {
			out = append(out, f)
		}
	}
	if e := said.Error; e != nil && !strings.Contains(e.Message, errSurvey.Error()) {
		out = append(out, Finding{Detail: e.Message, Range: text.located(&e.Location)})
	}
	slices.SortStableFunc(out, func(a, b Finding) int { // the frontend goes through maps
		return cmp.Or(cmp.Compare(a.Range.Start.Line, b.Range.Start.Line), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Detail, b.Detail))
	})
	return out
}

// located turns a place of BuildKit's into lines.
func (d *DockerfileText) located(at *pb.Location) hcl.Range {
	if at == nil || len(at.Ranges) == 0 || at.Ranges[0].Start == nil {
		return d.lines(1, 1)
	}
	first, last := at.Ranges[0].Start.Line, at.Ranges[len(at.Ranges)-1].End.GetLine()
	return d.lines(int(first), int(last))
}
