package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/exec"
)

// A summary tells how a run came out.
type summary struct {
	palette
	m        *model
	outcomes []exec.Outcome
	width    int    // of a terminal, for cutting the table; 0 is no limit
	most     int    // failures that are told; 0 is all
	kept     string // where images without an output are
}

func newSummary(o Options, m *model, outcomes []exec.Outcome) *summary {
	return &summary{palette: palette(o.Color), m: m, outcomes: outcomes, kept: o.Kept}
}

// all returns the table, the warnings, the failures, and the totals with the
// root cause at the end.
func (s *summary) all(width int) string {
	s.width = width
	if len(s.outcomes) == 0 {
		return "nothing to build\n"
	}
	var b strings.Builder
	s.table(&b, s.outcomes)
	s.warnings(&b)
	b.WriteByte('\n')
	s.tellFailures(&b)
	b.WriteString(s.totals() + "\n")
	s.causes(&b)
	return b.String()
}

// failures returns what is left of the summary for those who want silence.
func (s *summary) failures() string {
	var b strings.Builder
	s.tellFailures(&b)
	s.causes(&b)
	return b.String()
}

// table writes a row for each of some targets:
//
//	TARGET  RESULT   TIME  CACHED  DIGEST        OUTPUT
//	base    cached   0.2s  4/4     1a2b3c4d5e6f  not exported
//	api     built    8.3s  2/7     6f5e4d3c2b1a  registry.example/api:1.2
//	web     skipped                              needs lib, which was not built
//
// With several builders there is a column for them.
func (s *summary) table(b *strings.Builder, outcomes []exec.Outcome) {
	rows := [][]string{{"TARGET", "RESULT", "TIME", "CACHED", "DIGEST", "OUTPUT"}}
	for _, o := range outcomes {
		rows = append(rows, s.row(o))
	}
	s.addBuilders(rows, outcomes)
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	for i, row := range rows {
		var line strings.Builder
		for j, cell := range row {
			text := cell
			if j < len(row)-1 {
				text = pad(cell, widths[j])
			}
			switch {
			case i == 0:
				text = s.bold(text)
			case j == 1:
				text = s.colored(text, outcomes[i-1].Status)
			}
			line.WriteString(text + "  ")
		}
		b.WriteString(strings.TrimRight(fit(strings.TrimRight(line.String(), " "), s.width), " ") + "\n")
	}
}

// addBuilders puts the builders of the targets before their digests, if there
// is more than one to choose from.
func (s *summary) addBuilders(rows [][]string, outcomes []exec.Outcome) {
	const at = 4
	column := []string{"BUILDER"}
	for _, o := range outcomes {
		column = append(column, oneLine(strings.Join(s.m.places.Builders(o.Node.Name()), ", ")))
	}
	if strings.Join(column[1:], "") == "" {
		return
	}
	for i := range rows {
		rows[i] = slices.Insert(rows[i], at, column[i])
	}
}

func (s *summary) row(o exec.Outcome) []string {
	t := s.m.target(o.Node.Name())
	row := []string{o.Node.Name(), t.result(&o), "", "", short(o.Output.Digest), ""}
	if !o.Times.Started.IsZero() {
		row[2] = took(o.Times.Finished.Sub(o.Times.Started))
	}
	if cached, all := t.cached(); all > 0 {
		row[3] = fmt.Sprintf("%d/%d", cached, all)
	}
	switch {
	case o.Status != exec.Built:
		row[5] = cause(o)
	case len(o.Output.Refs) > 0:
		row[5] = oneLine(strings.Join(o.Output.Refs, ", "))
	default:
		row[5] = "not exported"
	}
	return row
}

func (s *summary) colored(text string, status exec.Status) string {
	switch status {
	case exec.Built:
		return s.green(text)
	case exec.Failed:
		return s.red(text)
	}
	return s.yellow(text)
}

// warnings writes what the frontend or the daemon warned of, each once.
func (s *summary) warnings(b *strings.Builder) {
	seen := map[string]bool{}
	first := true
	for _, o := range s.outcomes {
		t := s.m.target(o.Node.Name())
		for _, w := range t.warnings {
			if seen[t.name+"\x00"+w] {
				continue
			}
			seen[t.name+"\x00"+w] = true
			if first {
				b.WriteByte('\n')
				first = false
			}
			fmt.Fprintf(b, "%s %s: %s\n", s.yellow("warning:"), t.name, strings.ReplaceAll(w, "\n", "\n  "))
		}
	}
}

// totals counts in one line.
func (s *summary) totals() string {
	count := map[string]int{}
	cached, all, retries := 0, 0, 0
	var began, ended time.Time
	for _, o := range s.outcomes {
		t := s.m.target(o.Node.Name())
		count[t.result(&o)]++
		c, a := t.cached()
		cached, all = cached+c, all+a
		retries += t.retries
		if q := o.Times.Queued; began.IsZero() || q.Before(began) {
			began = q
		}
		if f := o.Times.Finished; f.After(ended) {
			ended = f
		}
	}
	n := len(s.outcomes)
	built := count["built"] + count["cached"]
	text := fmt.Sprintf("%d of %d targets built", built, n)
	if built == n {
		text = fmt.Sprintf("%d targets built", n)
		if n == 1 {
			text = "1 target built"
		}
	}
	if c := count["cached"]; c > 0 {
		text += fmt.Sprintf(" (%d cached)", c)
	}
	for _, status := range []exec.Status{exec.Failed, exec.Skipped, exec.Cancelled} {
		if c := count[status.String()]; c > 0 {
			text += fmt.Sprintf(", %d %s", c, status)
		}
	}
	text += " in " + took(ended.Sub(began))
	if all > 0 {
		text += fmt.Sprintf("; %d of %d steps cached", cached, all)
	}
	if retries == 1 {
		text += "; 1 retry"
	} else if retries > 1 {
		text += fmt.Sprintf("; %d retries", retries)
	}
	return s.bold(text)
}
