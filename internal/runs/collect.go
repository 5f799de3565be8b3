package runs

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
)

// A Collector is a Sink that makes a Run of what it is told.
type Collector struct {
	began time.Time

	// mu guards the fields below.
	mu      sync.Mutex
	targets map[string]*collected
	behind  time.Duration // least by which kiln heard of a step's end later than it happened, by the daemon's clock
	heard   bool          // behind is set
}

// A collected target is one of which something was heard.
type collected struct {
	steps    []*step
	byDigest map[string]*step
	warnings []string
	builders []string
	retries  int
}

// A step is a step with what moved in it.
type step struct {
	Step
	parts map[string]int64 // bytes
}

// NewCollector returns a Collector for a run that begins now.
func NewCollector() *Collector {
	return &Collector{began: time.Now(), targets: map[string]*collected{}}
}

// Event implements [exec.Sink].
func (c *Collector) Event(e exec.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Kind {
	case exec.VertexKind:
		if e.Vertex != nil {
			c.vertex(e)
		}
	case exec.Warning:
		t := c.target(e.Node)
		if text := clean(string(e.Log)); !slices.Contains(t.warnings, text) {
			t.warnings = append(t.warnings, text)
		}
	case exec.Retrying:
		c.target(e.Node).retries++
	case exec.Placed:
		t := c.target(e.Node)
		if !slices.Contains(t.builders, e.Builder) {
			t.builders = append(t.builders, e.Builder)
		}
	}
}

func (c *Collector) target(name string) *collected {
	t := c.targets[name]
	if t == nil {
		t = &collected{byDigest: map[string]*step{}}
		c.targets[name] = t
	}
	return t
}

func (c *Collector) vertex(e exec.Event) {
	v, t := e.Vertex, c.target(e.Node)
	s := t.byDigest[v.Digest]
	if s == nil {
		s = &step{Step: Step{Digest: v.Digest}}
		t.byDigest[v.Digest] = s
		t.steps = append(t.steps, s)
	}
	s.Name, s.File, s.Line = v.Name, v.File, v.Line // of a step, the last that is told
	s.Cached, s.Internal, s.Error = v.Cached, v.Internal, v.Error
	s.Started, s.Ended = v.Started, v.Completed
	if v.Part != "" {
		if s.parts == nil {
			s.parts = map[string]int64{}
		}
		s.parts[v.Part] = max(s.parts[v.Part], v.Current)
		return
	}
	if !v.Completed.IsZero() && !e.Time.IsZero() {
		if late := e.Time.Sub(v.Completed); !c.heard || late < c.behind {
			c.behind, c.heard = late, true
		}
	}
}

// About is what a record says of a run beside its events.
type About struct {
	Kiln       string
	Definition string
	Files      []string
	Dir        string
	Commit     string
	Args       []string // without secrets
	Builders   []string
	Jobs       int
}

// Run returns the record of the run, which has come to an end with these
// outcomes, and whose steps are made of what recipes say. The lists of files
// come in when it is kept.
func (c *Collector) Run(about About, outcomes []exec.Outcome, recipes []exec.Recipe) *Run {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &Run{
		Version: Version, ID: newID(c.began), Started: c.began.UTC(), Ended: time.Now().UTC(),
		Kiln: about.Kiln, Definition: about.Definition, Files: about.Files, Dir: about.Dir, Commit: about.Commit,
		Recipes: shortened(recipes), Builders: about.Builders, Jobs: about.Jobs, Status: statusOf(outcomes),
		Targets: []*Target{},
	}
	for _, arg := range about.Args {
		r.Args = append(r.Args, clean(arg))
	}
	shift := c.shift()
	for _, o := range outcomes {
		t := targetOf(o)
		if known := c.targets[t.Name]; known != nil {
			t.Retries, t.Warnings, t.Builders = known.retries, known.warnings, slices.Sorted(slices.Values(known.builders))
			for _, s := range known.steps {
				t.Steps = append(t.Steps, s.done(shift))
			}
			slices.SortStableFunc(t.Steps, func(a, b *Step) int { return a.Started.Compare(b.Started) })
		}
		cached, all := t.Counts()
		t.Cached = o.Status == exec.Built && all > 0 && cached == all
		r.Targets = append(r.Targets, t)
	}
	return r
}

// digestDigits is how much of a digest is recorded: enough to tell the steps
// of a run apart.
const digestDigits = 16

// shorten cuts a digest: "sha256:392e8960cc396603…" is "392e8960cc396603".
func shorten(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		return digest
	}
	return hex[:min(len(hex), digestDigits)]
}

// shortened cuts the digests of recipes.
func shortened(recipes []exec.Recipe) []exec.Recipe {
	out := slices.Clone(recipes)
	for i := range out {
		r := &out[i]
		r.Digest = shorten(r.Digest)
		r.Inputs = slices.Clone(r.Inputs)
		for k := range r.Inputs {
			r.Inputs[k].Step = shorten(r.Inputs[k].Step)
		}
	}
	return out
}

// newID names a run by its beginning, so that names sort by time.
func newID(began time.Time) string {
	began = began.UTC()
	return fmt.Sprintf("%s-%03d%03x", began.Format("20060102-150405"), began.Nanosecond()/int(time.Millisecond), rand.N(1<<12))
}

// smallest is the difference of two clocks that is put right.
const smallest = 500 * time.Millisecond

// shift is what to add to times of the daemon to have them by kiln's clock. A
// step's end cannot be heard of before it happens, and some are heard of soon.
func (c *Collector) shift() time.Duration {
	if c.behind.Abs() < smallest {
		return 0
	}
	return c.behind
}

func statusOf(outcomes []exec.Outcome) string {
	status := exec.Built
	for _, o := range outcomes {
		switch o.Status {
		case exec.Failed:
			return exec.Failed.String()
		case exec.Cancelled:
			status = exec.Cancelled
		}
	}
	return status.String()
}

func targetOf(o exec.Outcome) *Target {
	n := o.Node
	t := &Target{
		Name: n.Name(), Status: o.Status.String(), Requested: n.Requested, Digest: o.Output.Digest, Refs: o.Output.Refs,
		Needs: namesOf(n.Needs), After: namesOf(n.After), NoCache: n.Target.NoCache || len(n.Target.NoCacheFilter) > 0, Pull: n.Target.Pull,
		Args: argsOf(n.Target), Secrets: secretsOf(n.Target),
		Times: Times{utc(o.Times.Queued), utc(o.Times.Started), utc(o.Times.Solved), utc(o.Times.Exporting), utc(o.Times.Finished)},
	}
	if o.Status != exec.Built {
		t.Failure = failureOf(o)
	}
	return t
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

func namesOf(nodes []*graph.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name())
	}
	return out
}

func argsOf(t *config.Target) []string {
	var out []string
	for _, a := range t.Args {
		out = append(out, a.Key)
	}
	slices.Sort(out)
	return out
}

func secretsOf(t *config.Target) []string {
	names := map[string]bool{}
	for _, s := range t.Secrets {
		names[s.ID] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func failureOf(o exec.Outcome) *Failure {
	f := &Failure{Text: o.Status.String()}
	if o.Err != nil {
		f.Text = clean(o.Err.Error())
	}
	var skip *exec.SkipError
	if errors.As(o.Err, &skip) {
		f.Need, f.Root = skip.Need, skip.Root
	}
	var source *exec.SourceError
	if !errors.As(o.Err, &source) {
		return f
	}
	f.File, f.Line, f.EndLine, f.Stage = source.File, source.StartLine, source.EndLine, source.Stage
	f.Command, f.Log = clean(source.Command), clean(string(source.Log))
	if source.Command != "" && source.ExitCode >= 0 {
		f.ExitCode = &source.ExitCode
	}
	return f
}

// done is the step as it is recorded.
func (s *step) done(shift time.Duration) *Step {
	out := s.Step
	out.Digest = shorten(out.Digest)
	out.Name, out.Error = strings.Join(strings.Fields(clean(out.Name)), " "), clean(out.Error)
	if !out.Started.IsZero() {
		out.Started = out.Started.Add(shift).UTC()
	}
	if !out.Ended.IsZero() {
		out.Ended = out.Ended.Add(shift).UTC()
	}
	for part, n := range s.parts { // a sum, whose order does not matter
		switch {
		case strings.HasPrefix(part, "transferring "):
			out.Sent += n
		case strings.HasPrefix(part, "push") || strings.HasPrefix(out.Name, "exporting "):
			out.Pushed += n
		default: // layers of an image, by their digests; a file of a web server
			out.Pulled += n
		}
	}
	return &out
}

// Written reports whether the step is one of a Dockerfile.
func (s *Step) Written() bool {
	return !s.Internal && strings.HasPrefix(s.Name, "[") && !strings.HasPrefix(s.Name, "[internal]") && !strings.HasPrefix(s.Name, "[auth]")
}

// clean takes out of a text what is not for keeping: passwords, and what
// would move a terminal's cursor or turn the text round.
func clean(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return unwanted(r) || r == utf8.RuneError }) {
		text = lastState(text)
		text = strings.Map(func(r rune) rune {
			if unwanted(r) {
				return -1
			}
			return r
		}, ansi.Strip(strings.ToValidUTF8(text, "\uFFFD")))
	}
	if suspicious(text) {
		lines := strings.SplitAfter(text, "\n")
		for i, line := range lines {
			lines[i] = diag.Redact(line)
		}
		text = strings.Join(lines, "")
	}
	return strings.TrimRight(text, "\n")
}

func unwanted(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
}

// lastState returns of lines that were drawn over, after a carriage return,
// what could be seen at last.
func lastState(text string) string {
	if !strings.Contains(text, "\r") {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		l = strings.TrimRight(l, "\r")
		lines[i] = l[strings.LastIndexByte(l, '\r')+1:]
	}
	return strings.Join(lines, "\n")
}

// suspicious reports whether a text may hold what [diag.Redact] hides. A run
// has thousands of texts, and few of them do.
func suspicious(text string) bool {
	if strings.Contains(text, "@") {
		return true
	}
	if !strings.ContainsAny(text, "=:") {
		return false
	}
	lower := strings.ToLower(text)
	for _, word := range [...]string{"token", "passw", "secret", "api", "key", "credential"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}
