package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/runs"
)

// A whyRebuiltOptions is `kiln why-rebuilt` after its flags were read.
type whyRebuiltOptions struct {
	runs []string
	json bool
	all  bool
}

func whyRebuiltCommand(a *app) *cobra.Command {
	var o whyRebuiltOptions
	c := &cobra.Command{
		Use:   "why-rebuilt TARGET",
		Short: "Say why a target was built anew",
		Long: `Say which step of a target was the first that was not in the cache, what has
changed of what it is made of since the run before (a file, an argument, a base
image, a line of the Dockerfile), and what was built again because of it.`,
		Example: "  kiln why-rebuilt api\n  kiln why-rebuilt api --run 3 --run 1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("why-rebuilt takes one target; `kiln report` shows them all")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.whyRebuilt(o, args[0]) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return a.recordedTargets(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.runs, "run", nil, "which `run` to explain, as for kiln report (default: the last of the target); twice: compare the two")
	f.BoolVar(&o.json, "json", false, "print a JSON object")
	f.BoolVar(&o.all, "all", false, "runs of all definitions, not only of those in this directory or above it")
	return c
}

// recordedTargets are the targets of the last run, for completion.
func (a *app) recordedTargets() []string {
	k, err := a.keeper()
	if err != nil {
		return nil
	}
	for _, e := range a.runsHere(k, false) {
		if r, err := k.Load(e); err == nil {
			return targetsIn(r)
		}
	}
	return nil
}

func targetsIn(r *runs.Run) []string {
	var out []string
	for _, t := range r.Targets {
		out = append(out, t.Name)
	}
	return out
}

// whyRebuilt is the flow of `kiln why-rebuilt`.
func (a *app) whyRebuilt(o whyRebuiltOptions, target string) error {
	k, err := a.keeper()
	if err != nil {
		return err
	}
	p := &recordedPair{a: a, keeper: k, entries: a.runsHere(k, o.all), target: target}
	if err := p.choose(o.runs); err != nil {
		return err
	}
	why := runs.Compare(p.now, p.before, target, p.list)
	if o.json {
		return writeJSON(a.Out, why)
	}
	return p.print(a.Out, why)
}

// A recordedPair is two runs of a target.
type recordedPair struct {
	a       *app
	keeper  *runs.Keeper
	entries []runs.Entry // the newest first
	target  string

	now, before *runs.Run // before is nil if there is none
}

// choose loads the runs that are named, else the last two of the target.
func (p *recordedPair) choose(names []string) error {
	if len(names) > 2 {
		return usagef("--run is given %d times; one run is explained, or two are compared", len(names))
	}
	var named []*runs.Run
	for _, name := range names {
		e, err := p.a.pick(p.entries, name)
		if err != nil {
			return err
		}
		r, err := p.keeper.Load(e)
		if err != nil {
			return usagef("%w", err)
		}
		if !began(r, p.target) {
			return usagef("run %s did not begin to build %s%s", r.ID, p.target, didYouMean(p.target, targetsIn(r)))
		}
		named = append(named, r)
	}
	switch len(named) {
	case 2:
		slices.SortFunc(named, func(a, b *runs.Run) int { return cmp.Compare(a.ID, b.ID) })
		p.before, p.now = named[0], named[1]
		return nil
	case 1:
		p.now = named[0]
	default:
		if err := p.last(); err != nil {
			return err
		}
	}
	p.before = p.earlier(p.now, func(r *runs.Run) bool { return began(r, p.target) })
	return nil
}

// last loads the last run of the target.
func (p *recordedPair) last() error {
	if len(p.entries) == 0 {
		return usagef("no run is recorded yet; kiln build records each")
	}
	var known []string
	for _, e := range p.entries {
		r, err := p.keeper.Load(e)
		if err != nil {
			continue
		}
		if began(r, p.target) {
			p.now = r
			return nil
		}
		known = append(known, targetsIn(r)...)
	}
	return usagef("no recorded run has built %s%s", p.target, didYouMean(p.target, known))
}

// earlier loads the last run of the same definition before another that is as
// wanted; nil if there is none.
func (p *recordedPair) earlier(than *runs.Run, wanted func(*runs.Run) bool) *runs.Run {
	for _, e := range runs.Of(p.keeper.Entries(), than.Definition) {
		if e.ID >= than.ID {
			continue
		}
		if r, err := p.keeper.Load(e); err == nil && wanted(r) {
			return r
		}
	}
	return nil
}

// began reports whether a run has begun to build a target.
func began(r *runs.Run, target string) bool {
	t := r.Target(target)
	return t != nil && !t.Started.IsZero()
}

// list returns what a run was sent of a directory. A directory that had not
// changed was not sent: then it is what the last run before was sent.
func (p *recordedPair) list(r *runs.Run, dir string) ([]exec.ListedFile, bool) {
	refOf := func(r *runs.Run) string {
		for _, l := range r.Listings {
			if l.Dir == dir {
				return l.ID
			}
		}
		return ""
	}
	from := r
	if refOf(from) == "" {
		from = p.earlier(r, func(r *runs.Run) bool { return refOf(r) != "" })
	}
	if from == nil {
		return nil, false
	}
	files, err := p.keeper.Listing(refOf(from))
	return files, err == nil
}

// print tells people.
func (p *recordedPair) print(w io.Writer, why *runs.Rebuild) error {
	var b strings.Builder
	against := ""
	if p.before != nil {
		against = fmt.Sprintf(", compared with run %s, %s before", p.before.ID, p.now.Started.Sub(p.before.Started).Round(time.Second))
	}
	if len(why.Roots)+len(why.Chain) == 0 {
		p.printCached(&b, why)
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s in run %s%s: %d of %d steps cached\n", why.Target, why.Run, against, why.Cached, why.Steps)
	for i, r := range why.Roots {
		also := ""
		if i > 0 {
			also = "also "
		}
		fmt.Fprintf(&b, "\n%s was %sthe first step that was not in the cache\n", p.stepText(r.Rebuilt), also)
		printCauses(&b, r.Causes)
	}
	if why.Unknown {
		b.WriteString("\nThe builder's own frontend made these steps, and what they are made of is not known:\n")
	} else if len(why.Chain) > 0 {
		b.WriteString("\nand so these were done again:\n")
	}
	for _, s := range why.Chain {
		fmt.Fprintf(&b, "  %s  %.1fs\n", p.stepText(s), s.Seconds)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printCached says that nothing was rebuilt, and when something was.
func (p *recordedPair) printCached(b *strings.Builder, why *runs.Rebuild) {
	if why.Steps == 0 {
		fmt.Fprintf(b, "%s has no steps in run %s: it only takes an image, or was not built.\n", why.Target, why.Run)
		return
	}
	fmt.Fprintf(b, "%s was not rebuilt in run %s: all of its %d steps were in the cache.\n", why.Target, why.Run, why.Steps)
	last := p.earlier(p.now, func(r *runs.Run) bool {
		w := runs.Compare(r, nil, p.target, p.list)
		return len(w.Roots)+len(w.Chain) > 0
	})
	if last != nil {
		fmt.Fprintf(b, "It was rebuilt last in run %s: kiln why-rebuilt %s --run %s\n", last.ID, why.Target, last.ID)
	}
}

// stepText names a step, with its target if that is another, and its place.
func (p *recordedPair) stepText(s runs.Rebuilt) string {
	text := s.Step
	if s.Target != p.target {
		text = s.Target + " " + text
	}
	if s.File != "" && s.Line > 0 {
		text += fmt.Sprintf(" (%s:%d)", s.File, s.Line)
	}
	return text
}

// mostCauses is how many causes of a step are printed.
const mostCauses = 12

func printCauses(b *strings.Builder, causes []runs.Cause) {
	for i, c := range causes {
		if i == mostCauses {
			fmt.Fprintf(b, "  and %d more\n", len(causes)-i)
			return
		}
		where := ""
		if c.Step != "" {
			where = " (in " + c.Step + ", which it builds on)"
		}
		b.WriteString("  " + strings.ReplaceAll(harmless(causeText(c)), "\n", "\n    ") + where + "\n")
	}
}

// harmless takes out of a text, such as the name of a file, what would move a
// terminal's cursor or turn the text round.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// causeTexts say what a cause is.
var causeTexts = map[runs.CauseKind]string{
	runs.CauseTouched:    "file NAME was written to since; whether it is another is not known",
	runs.CauseIgnore:     "what is left out of NAME (.dockerignore) has changed",
	runs.CauseBase:       "image NAME has changed\nwas BEFORE\nis  NOW",
	runs.CauseCommand:    "the instruction has changed\nwas BEFORE\nis  NOW",
	runs.CauseHidden:     "something has changed that is not shown, such as the value of a secret argument",
	runs.CauseNew:        "the run before had no such step",
	runs.CauseUnfinished: "the run before did not come to the end of it",
	runs.CauseNoCache:    "the cache was not to be used (--no-cache, no-cache or no-cache-filter)",
	runs.CauseBuilder:    "it was built elsewhere before, with another cache\nwas BEFORE\nis  NOW",
	runs.CauseFirst:      "no run before is recorded",
	runs.CauseCache: "nothing that it is made of has changed: the cache no longer has it. It was pruned, or made room for\n" +
		"newer results (KILN_ENGINE_CACHE), or the builder was reset",
}

// causeText says what a cause is, for people.
func causeText(c runs.Cause) string {
	if text, ok := causeTexts[c.Kind]; ok {
		return strings.NewReplacer("NAME", c.Name, "BEFORE", c.Before, "NOW", c.Now).Replace(text)
	}
	switch c.Kind {
	case runs.CauseFile:
		return changed("file "+c.Name, c.Before, c.Now)
	case runs.CauseArgument:
		return changed("argument "+c.Name, c.Before, c.Now)
	case runs.CauseEnvironment:
		return changed("variable "+c.Name, c.Before, c.Now)
	case runs.CauseSetting:
		return changed(c.Name, c.Before, c.Now)
	case runs.CauseSource:
		if c.Before == "" {
			return "what " + c.Name + " serves may have changed"
		}
		return changed("source", c.Before, c.Now)
	}
	if c.Before+c.Now == "" {
		return "it reads something else than before"
	}
	return "it builds on something else\nwas " + c.Before + "\nis  " + c.Now
}

func changed(what, before, now string) string {
	switch {
	case before == "":
		return fmt.Sprintf("%s is new: %s", what, now)
	case now == "":
		return fmt.Sprintf("%s is gone; it was %s", what, before)
	}
	return fmt.Sprintf("%s has changed\nwas %s\nis  %s", what, before, now)
}
