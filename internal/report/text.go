package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
)

// How many rows of each table a terminal is given.
const (
	textSteps   = 10
	textPath    = 12
	textChanges = 8
)

// WriteText writes the report for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	r.head(&b)
	r.failures(&b)
	r.path(&b)
	r.slow(&b)
	r.cache(&b)
	r.changes(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) head(b *strings.Builder) {
	run, s := r.Run, r.Summary
	fmt.Fprintf(b, "Run %s, %s, of %s\n", run.ID, run.Started.Local().Format("Mon 2 Jan 2006 15:04:05"), run.Definition)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %-10s%s\n", name, text)
		}
	}
	line("command", command(run.Args))
	line("builder", strings.Join(run.Builders, ", "))
	line("commit", run.Commit)
	line("result", fmt.Sprintf("%s in %s: %s", s.Status, took(s.Seconds), s.counts()))
	line("cache", fmt.Sprintf("%d of %d steps cached%s", s.StepsCached, s.Steps, percent(s.StepsCached, s.Steps)))
	line("bytes", s.bytes())
}

// command is the command line, as it can be given again.
func command(args []string) string {
	out := []string{"kiln"}
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t'\"\\$*?&|;<>(){}[]!#~`") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// counts says how the targets came out.
func (s Summary) counts() string {
	text := fmt.Sprintf("%d of %d targets built", s.Built, s.Targets)
	if s.Cached > 0 {
		text += fmt.Sprintf(" (%d cached)", s.Cached)
	}
	for _, c := range []struct {
		n    int
		what string
	}{{s.Failed, "failed"}, {s.Skipped, "skipped"}, {s.Cancelled, "cancelled"}} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	if s.Retries > 0 {
		text += fmt.Sprintf("; %d tried again", s.Retries)
	}
	return text
}

// bytes says what was moved.
func (s Summary) bytes() string {
	var parts []string
	for _, m := range []struct {
		n    int64
		what string
	}{{s.Sent, "sent"}, {s.Pulled, "pulled"}, {s.Pushed, "pushed or exported"}} {
		if m.n > 0 {
			parts = append(parts, size(m.n)+" "+m.what)
		}
	}
	return strings.Join(parts, ", ")
}

func size(n int64) string { return units.HumanSize(float64(n)) }

func percent(n, of int) string {
	if of == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d%%)", 100*n/of)
}

func (r *Report) failures(b *strings.Builder) {
	for _, t := range r.Run.Targets {
		if t.Failure == nil || t.Status != "failed" {
			continue
		}
		fmt.Fprintf(b, "\n%s failed%s\n", t.Name, at(" at ", t.Failure.File, t.Failure.Line))
		for line := range strings.Lines(t.Failure.Text) {
			b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
		}
	}
}

// at is a place with something in front; "" if there is none.
func at(before, file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return before + file
	}
	return fmt.Sprintf("%s%s:%d", before, file, line)
}

func (r *Report) path(b *strings.Builder) {
	c := r.Critical
	if len(c.Path) == 0 {
		return
	}
	fmt.Fprintf(b, "\nCritical path: %s of %s\n", took(c.Seconds), took(r.Summary.Seconds))
	if best := c.best(); best >= 0 {
		p := c.Path[best]
		fmt.Fprintf(b, "  First to speed up: %s %s%s. It takes %s; %s.\n", p.Target, cut(p.Step), at(", ", p.File, p.Line), took(p.Seconds), p.advice())
	}
	shown := c.longest(textPath)
	table(b, "START\tTIME\tSAVES\tTARGET\tSTEP", len(shown), func(i int) string {
		p := c.Path[shown[i]]
		return strings.Join([]string{took(p.Start), took(p.Seconds), took(p.Saves), p.Target, cut(p.Step) + at("  ", p.File, p.Line)}, "\t")
	})
	more(b, len(c.Path)-len(shown))
}

// longestName is what is shown of a step's name in a table.
const longestName = 60

// cut shortens the name of a step.
func cut(name string) string {
	if runes := []rune(name); len(runes) > longestName {
		return string(runes[:longestName-1]) + "…"
	}
	return name
}

// best is the part that would save most, the longest of equals; -1 if none
// would save anything.
func (c Critical) best() int {
	best := -1
	for i, p := range c.Path {
		if p.Saves > 0 && (best < 0 || p.Saves > c.Path[best].Saves || p.Saves == c.Path[best].Saves && p.Seconds > c.Path[best].Seconds) {
			best = i
		}
	}
	return best
}

// advice says what a part of the path would save.
func (p PathPart) advice() string {
	text := fmt.Sprintf("without it the run would be %s shorter", took(p.Saves))
	if p.Saves < p.Seconds/2 {
		text += ", for something else takes nearly as long"
	}
	return text
}

// longest are the longest parts of the path, in the order of time.
func (c Critical) longest(most int) []int {
	order := make([]int, len(c.Path))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(c.Path[b].Seconds, c.Path[a].Seconds) })
	order = order[:min(len(order), most)]
	slices.Sort(order)
	return order
}

func (r *Report) slow(b *strings.Builder) {
	if len(r.Slowest) == 0 {
		return
	}
	b.WriteString("\nSlowest steps\n")
	shown := r.Slowest[:min(len(r.Slowest), textSteps)]
	table(b, "TIME\tTARGET\tSTEP", len(shown), func(i int) string {
		s := shown[i]
		return strings.Join([]string{took(s.Seconds), s.Target, cut(s.Step) + at("  ", s.File, s.Line)}, "\t")
	})
}

// cache lists the targets of which something had to be done, when others had
// not.
func (r *Report) cache(b *strings.Builder) {
	type row struct {
		name        string
		cached, all int
		first       string
	}
	var rows []row
	for _, t := range r.Run.Targets {
		cached, all := t.Counts()
		if cached == all {
			continue
		}
		x := row{name: t.Name, cached: cached, all: all}
		for _, s := range t.Steps {
			if s.Written() && !s.Cached && !s.Ended.IsZero() {
				x.first = s.Name
				break
			}
		}
		rows = append(rows, x)
	}
	if len(rows) == 0 || r.Summary.StepsCached == 0 {
		return
	}
	b.WriteString("\nNot in the cache (kiln why-rebuilt TARGET tells why)\n")
	shown := rows[:min(len(rows), textSteps)]
	table(b, "TARGET\tCACHED\tFIRST STEP THAT WAS NOT", len(shown), func(i int) string {
		return fmt.Sprintf("%s\t%d/%d\t%s", shown[i].name, shown[i].cached, shown[i].all, cut(shown[i].first))
	})
	more(b, len(rows)-len(shown))
}

func (r *Report) changes(b *strings.Builder) {
	c := r.Before
	if c == nil {
		return
	}
	fmt.Fprintf(b, "\nBefore, in run %s: %s (now %s), %d of %d steps cached\n", c.ID, took(c.Seconds), signed(r.Summary.Seconds-c.Seconds), c.StepsCached, c.Steps)
	shown := c.Targets[:min(len(c.Targets), textChanges)]
	table(b, "TARGET\tBEFORE\tNOW\tCHANGE\t", len(shown), func(i int) string {
		t := shown[i]
		how := ""
		if t.From != t.To {
			how = t.From + ", now " + t.To
		}
		return strings.Join([]string{t.Target, took(t.Before), took(t.Now), signed(t.Now - t.Before), how}, "\t")
	})
	more(b, len(c.Targets)-len(shown))
	if len(c.New) > 0 {
		fmt.Fprintf(b, "  new: %s\n", some(c.New))
	}
	if len(c.Gone) > 0 {
		fmt.Fprintf(b, "  not in this run: %s\n", some(c.Gone))
	}
}

func some(names []string) string {
	if over := len(names) - textChanges; over > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:textChanges], ", "), over)
	}
	return strings.Join(names, ", ")
}

func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "  and %d more\n", n)
	}
}

// table writes rows under a header, aligned and moved in.
func table(b *strings.Builder, header string, n int, row func(i int) string) {
	if n == 0 {
		return
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "  "+header)
	for i := range n {
		fmt.Fprintln(w, "  "+row(i))
	}
	w.Flush()
	for line := range strings.Lines(text.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

// signed is a difference of times.
func signed(s float64) string {
	if s < 0 {
		return "-" + took(-s)
	}
	return "+" + took(s)
}

// took writes seconds with as many digits as a person wants.
func took(s float64) string {
	d := time.Duration(s * float64(time.Second)).Round(time.Millisecond)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
