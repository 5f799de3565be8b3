package progress

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
)

// maxFold bounds the lines of a target that are held back until it ends, in
// bytes. What is longer comes in parts.
const maxFold = 1 << 20

// signOfLife is how long nothing is written before it is told what goes on:
// CI services end what is silent.
const signOfLife = 30 * time.Second

// A folds view is for the logs of CI services, which only grow: it holds the
// lines of a target back and writes them together when the target ends, so
// that those of parallel targets do not mix. A run of one target has nothing
// to mix with, and is written as it goes on.
type folds struct {
	o     Options
	model *model
	marks marks
	held  map[*target]*fold
	count int    // of folds so far
	open  string // the fold of a run's only target, by its ID; "" if none is open
	b     strings.Builder
	last  time.Time // something was written
}

// A fold is what is held back of a target.
type fold struct {
	lines []string
	bytes int
	parts int // already written
}

func newFolds(o Options, m *model) *folds {
	return &folds{o: o, model: m, marks: marksOf(o.Service, rand.Text()), held: map[*target]*fold{}, last: m.began}
}

func (v *folds) text(tick bool) string {
	now := time.Now()
	if v.b.Len() == 0 && tick && now.Sub(v.last) >= signOfLife {
		if text := v.life(now); text != "" {
			v.outside(text)
		}
	}
	s := v.b.String()
	v.b.Reset()
	if s != "" {
		v.last = now
	}
	return s
}

func (v *folds) take(it item) {
	switch {
	case it.event != nil:
		v.event(*it.event, it.at)
	case it.end:
		v.close()
		v.rest(it.at)
		if it.outcomes != nil {
			v.outside(strings.Split(strings.TrimSuffix("\n"+newSummary(v.o, v.model, it.outcomes).all(0), "\n"), "\n")...)
		}
	case it.note != "":
		v.outside(oneLine(it.note))
	}
}

func (v *folds) event(e exec.Event, at time.Time) {
	paint := palette(v.o.Color)
	if e.Kind == exec.Finished && e.Outcome != nil {
		v.finish(v.model.target(e.Node), e, at)
		return
	}
	t, lines := teller{paint}.event(v.model, e)
	switch {
	case t.name == "":
		v.outside(lines...)
	case t.outcome != nil: // its fold is closed
		for _, l := range lines {
			v.outside(t.name + " | " + l)
		}
	case len(v.model.targets) == 1:
		v.stream(t, lines, at)
	default:
		v.hold(t, lines, at)
	}
	if e.Kind == exec.Warning {
		v.caution(e)
	}
}

// outside writes lines that belong to no target.
func (v *folds) outside(lines ...string) {
	v.b.WriteString(v.marks.lines(lines, false))
}

// hold keeps lines, or writes them as a part if they are too many.
func (v *folds) hold(t *target, lines []string, at time.Time) {
	f := v.held[t]
	if f == nil {
		f = &fold{}
		v.held[t] = f
	}
	f.lines = append(f.lines, lines...)
	for _, l := range lines {
		f.bytes += len(l)
	}
	if f.bytes > maxFold {
		f.parts++
		v.write(fmt.Sprintf("%s: part %d of its log, it goes on", t.name, f.parts), t, f, at)
	}
}

// stream writes the lines of a run's only target into its fold.
func (v *folds) stream(t *target, lines []string, at time.Time) {
	if len(lines) == 0 {
		return
	}
	if v.open == "" {
		v.open = v.id(t)
		v.b.WriteString(v.marks.begin(t.name, v.open, at, true))
	}
	v.b.WriteString(v.marks.lines(lines, true))
}

// write writes what is held of a target as one fold, if there is anything.
func (v *folds) write(title string, t *target, f *fold, at time.Time) {
	open := t.outcome != nil && t.outcome.Status == exec.Failed
	id := v.id(t)
	v.b.WriteString(v.marks.begin(title, id, at, open))
	v.b.WriteString(v.marks.lines(f.lines, true))
	v.b.WriteString(v.marks.end(id, at))
	f.lines, f.bytes = nil, 0
}

// finish writes the lines of a target that ended.
func (v *folds) finish(t *target, e exec.Event, at time.Time) {
	words := teller{palette(v.o.Color)}
	lines := words.finished(t, *e.Outcome)
	v.model.event(e)
	title := t.name + ": " + words.ending(t, *e.Outcome)
	if cached, all := t.cached(); e.Outcome.Status == exec.Built && all > 0 {
		title += fmt.Sprintf(", %d of %d steps cached", cached, all)
	}
	f := v.held[t]
	delete(v.held, t)
	switch {
	case v.open != "":
		v.b.WriteString(v.marks.lines(lines, true))
		v.close()
	case f == nil || len(f.lines)+len(lines) < 2: // the title says it all
		v.outside(title)
	default:
		f.lines = append(f.lines, lines...)
		v.write(title, t, f, at)
	}
	if e.Outcome.Status == exec.Failed {
		v.failed(t, *e.Outcome)
	}
}

// close ends the fold of a run's only target.
func (v *folds) close() {
	if v.open != "" {
		v.b.WriteString(v.marks.end(v.open, time.Now()))
		v.open = ""
	}
}

// rest writes what is held of targets that did not come to an end.
func (v *folds) rest(at time.Time) {
	for _, t := range v.model.targets {
		if f := v.held[t]; f != nil && len(f.lines) > 0 {
			v.write(t.name+": not ended", t, f, at)
		}
	}
}

// id names the next fold.
func (v *folds) id(t *target) string {
	v.count++
	return foldID(v.count, t.name)
}

// failed marks the place of a failure for the service.
func (v *folds) failed(t *target, o exec.Outcome) {
	n := notice{level: "error", title: t.name + " failed", text: cause(o)}
	var source *exec.SourceError
	if errors.As(o.Err, &source) {
		n.file, n.line, n.endLine = v.place(source.File), source.StartLine, source.EndLine
		if source.Command != "" && source.ExitCode >= 0 {
			n.text = fmt.Sprintf("%s: exit code %d", brief(source.Command), source.ExitCode)
		}
	}
	v.b.WriteString(v.marks.notice(n))
}

// caution marks the place of a warning for the service.
func (v *folds) caution(e exec.Event) {
	n := notice{level: "warning", title: e.Node, text: strings.Join(cleanLines(e.Log), "\n")}
	if c := e.Caution; c != nil && c.File != "" {
		n.file = v.place(c.File)
		if len(c.Ranges) > 0 {
			n.line, n.endLine = c.Ranges[0].StartLine, c.Ranges[0].EndLine
		}
	}
	v.b.WriteString(v.marks.notice(n))
}

func (v *folds) place(file string) string {
	file = oneLine(file)
	if v.o.Place != nil {
		return v.o.Place(file)
	}
	return file
}

// life tells what goes on; "" if nothing does.
func (v *folds) life(now time.Time) string {
	s := v.model.sorted()
	if s.total == 0 || len(s.running)+len(s.waiting) == 0 {
		return ""
	}
	f := frame{m: v.model, now: now, width: 1000}
	text := f.headline(s)
	var doing []string
	slices.SortStableFunc(s.running, func(a, b *target) int { return f.since(a).Compare(f.since(b)) })
	for i, t := range s.running {
		if i == 3 {
			doing = append(doing, fmt.Sprintf("… and %d more", len(s.running)-i))
			break
		}
		doing = append(doing, fmt.Sprintf("%s: %s (%s)", t.name, fit(f.doing(t), 60), took(now.Sub(f.since(t)))))
	}
	if len(doing) > 0 {
		text += "; " + strings.Join(doing, "; ")
	}
	return text
}
