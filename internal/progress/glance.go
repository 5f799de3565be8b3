package progress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/graph"
)

// leastRows is how many lines the table needs to be of use.
const leastRows = 4

// glance is all on a screen of so many columns and lines: of a table that is
// too long the rows that took longest, of many warnings the first. Only
// failures may need more, for the first ten are told in full: the totals and
// the root cause are still the last on the screen.
func (s *summary) glance(width, height int) string {
	s.width, s.most = width, 10
	if len(s.outcomes) == 0 {
		return "nothing to build\n"
	}
	var rest strings.Builder
	rest.WriteByte('\n')
	s.tellFailures(&rest)
	failed := rest.Len() > 1
	rest.WriteString(s.totals() + "\n")
	s.whereTo(&rest)
	s.chain(&rest)
	s.causes(&rest)
	// A line is left for the prompt, and one is empty before the table.
	room := height - rowsOf(rest.String(), width+1) - 1
	var warnings strings.Builder
	if s.someWarnings(&warnings, max(3, min(height/4, room/2))); warnings.Len() > 0 {
		room -= rowsOf(warnings.String(), width+1)
	}
	var b strings.Builder
	if room >= leastRows || !failed {
		s.someRows(&b, max(leastRows, room))
	}
	return strings.TrimPrefix(b.String()+warnings.String()+rest.String(), "\n")
}

// rowsOf is how many rows of a terminal a text takes up.
func rowsOf(text string, width int) int {
	rows := 0
	for l := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		rows += max(1, (ansi.StringWidth(l)+width-1)/width)
	}
	return rows
}

// someRows writes the table in at most so many lines.
func (s *summary) someRows(b *strings.Builder, most int) {
	if len(s.outcomes)+1 <= most {
		s.table(b, s.outcomes)
		return
	}
	slow := slices.Clone(s.outcomes)
	slices.SortStableFunc(slow, func(x, y exec.Outcome) int { return cmp.Compare(lasted(y), lasted(x)) })
	slow = slow[:min(max(1, most-2), 10)]
	s.table(b, slow)
	fmt.Fprintln(b, fit(s.faint(fmt.Sprintf("… and %d more, which took no longer", len(s.outcomes)-len(slow))), s.width))
}

// lasted is how long a target took; 0 if it did not begin.
func lasted(o exec.Outcome) time.Duration {
	if o.Times.Started.IsZero() {
		return 0
	}
	return o.Times.Finished.Sub(o.Times.Started)
}

// someWarnings writes at most so many lines of warnings.
func (s *summary) someWarnings(b *strings.Builder, most int) {
	var all strings.Builder
	s.warnings(&all)
	lines := strings.Split(strings.TrimSuffix(all.String(), "\n"), "\n")
	if all.Len() == 0 {
		return
	}
	over := len(lines) - most
	if over > 0 {
		lines = lines[:most-1]
	}
	for _, l := range lines {
		b.WriteString(fit(l, s.width) + "\n")
	}
	if over > 0 {
		fmt.Fprintln(b, fit(s.faint(fmt.Sprintf("… and %d more lines of warnings", over+1)), s.width))
	}
}

// A place that results go to.
type placeKind int

const (
	noPlace placeKind = iota
	isKept            // where the builder keeps images without an output
	inRegistry
	inDocker
	inFile
)

// placesOf tells where the results of a target that was built are, and the
// files or directories among them.
func placesOf(o exec.Outcome) (kinds []placeKind, files []string) {
	if len(o.Node.Target.Outputs) == 0 && len(o.Output.Refs) > 0 {
		return []placeKind{isKept}, nil
	}
	for _, e := range o.Node.Target.Outputs {
		kind := noPlace
		switch {
		case e.Dest == "-":
		case e.Dest != "":
			kind = inFile
			files = append(files, oneLine(e.Dest))
		case e.Type == "registry", e.Type == "image" && slices.Contains(e.Attrs, config.KeyValue{Key: "push", Value: "true"}):
			kind = inRegistry
		case e.Type == "docker":
			kind = inDocker
		}
		if kind != noPlace && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds, files
}

// whereTo tells where the results are: "3 images in the image store, files in
// out and dist".
func (s *summary) whereTo(b *strings.Builder) {
	count := map[placeKind]int{}
	var files []string
	for _, o := range s.outcomes {
		if o.Status != exec.Built || !o.Node.Requested {
			continue
		}
		kinds, dests := placesOf(o)
		for _, k := range kinds {
			if k != isKept || s.kept != "" {
				count[k]++
			}
		}
		for _, d := range dests {
			if !slices.Contains(files, d) {
				files = append(files, d)
			}
		}
	}
	var parts []string
	for _, p := range []struct {
		kind placeKind
		text string
	}{{isKept, s.kept}, {inRegistry, "pushed"}, {inDocker, "loaded into Docker"}} {
		switch n := count[p.kind]; {
		case n == 1:
			parts = append(parts, "1 image "+p.text)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d images %s", n, p.text))
		}
	}
	if len(files) > 0 {
		parts = append(parts, "files in "+several(files, 2))
	}
	if len(parts) > 0 {
		fmt.Fprintln(b, strings.Join(parts, ", "))
	}
}

// worthChain is how long a run has to last for its longest chain to be told.
const worthChain = 5 * time.Second

// chain tells which targets had to wait for each other until the last of them
// was built, in a line: what to speed up first is among them.
func (s *summary) chain(b *strings.Builder) {
	ended := map[*graph.Node]exec.Outcome{}
	var last exec.Outcome
	for _, o := range s.outcomes {
		if o.Status != exec.Built {
			continue
		}
		if ended[o.Node] = o; o.Times.Finished.After(last.Times.Finished) {
			last = o
		}
	}
	var names []string
	for o := last; o.Node != nil; {
		names = append(names, o.Node.Name()+" "+took(lasted(o)))
		var before exec.Outcome
		for _, n := range slices.Concat(o.Node.Needs, o.Node.After) {
			if e := ended[n]; e.Node != nil && e.Times.Finished.After(before.Times.Finished) {
				before = e
			}
		}
		o = before
	}
	slices.Reverse(names)
	if len(names) < 2 || last.Times.Finished.Sub(last.Times.Queued) < worthChain {
		return
	}
	if over := len(names) - 5; over > 0 { // the last ones; where it began says the report
		names = append([]string{"…"}, names[over:]...)
	}
	fmt.Fprintf(b, "longest chain: %s; kiln report tells more\n", strings.Join(names, " → "))
}
