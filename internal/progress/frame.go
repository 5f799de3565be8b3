package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/docker/go-units"

	"github.com/kilnbuild/kiln/exec"
)

// A frame is one picture of the model: at most height lines, none longer than
// width.
//
//	12.3s  3 of 9 targets done, 2 building, 4 waiting
//	  api   [build 4/7] RUN go build ./...             8.1s
//	  web   exporting                                  0.4s
//	  lint  failed  [2/2] RUN golint
//	        | main.go:3: exported thing has no comment
//	  done: base, tools, docs
//	  waiting: app, worker, e2e, release
type frame struct {
	palette
	m             *model
	now           time.Time
	width, height int
}

// sorted is the targets by what the frame does with them.
type sorted struct {
	running, failed          []*target
	done, waiting, cancelled []string
	total                    int
}

func (m *model) sorted() sorted {
	s := sorted{total: len(m.targets)}
	for _, t := range m.targets {
		switch {
		case t.outcome == nil && t.began.IsZero():
			s.waiting = append(s.waiting, t.name)
		case t.outcome == nil:
			s.running = append(s.running, t)
		case t.outcome.Status == exec.Failed:
			s.failed = append(s.failed, t)
		case t.outcome.Status == exec.Built:
			s.done = append(s.done, t.name)
		default:
			s.cancelled = append(s.cancelled, t.name)
		}
	}
	return s
}

// lines draws the frame.
func (f frame) lines() []string {
	if f.height < 1 || len(f.m.targets) == 0 {
		return nil
	}
	s := f.m.sorted()
	out := []string{f.headline(s)}
	bottom := f.collapsed(s)
	body := len(s.running) + len(s.failed)
	room := f.height - 1 - len(bottom)
	for room < min(body, 2) && len(bottom) > 0 {
		bottom = bottom[:len(bottom)-1]
		room++
	}
	out = append(out, f.body(s, room)...)
	out = append(out, bottom...)
	for i, l := range out {
		out[i] = fit(l, f.width)
	}
	return out[:min(len(out), f.height)]
}

func (f frame) headline(s sorted) string {
	parts := []string{fmt.Sprintf("%d of %d targets done", len(s.done), s.total)}
	for _, p := range []struct {
		n    int
		word string
	}{{len(s.running), "building"}, {len(s.failed), "failed"}, {len(s.cancelled), "not built"}, {len(s.waiting), "waiting"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	return f.bold(took(f.now.Sub(f.m.began))) + "  " + strings.Join(parts, ", ")
}

// collapsed returns a line each for the targets that have no row.
func (f frame) collapsed(s sorted) []string {
	var out []string
	for _, p := range []struct {
		names []string
		head  string
	}{{s.done, f.green("done:")}, {s.cancelled, f.yellow("not built:")}, {s.waiting, f.faint("waiting:")}} {
		if len(p.names) > 0 {
			out = append(out, "  "+p.head+" "+strings.Join(p.names, ", "))
		}
	}
	return out
}

// body returns the rows of running and then failed targets, and, as far as
// there is room, the end of the log of what failed.
func (f frame) body(s sorted, room int) []string {
	if room < 1 {
		return nil
	}
	failed := s.failed[:min(len(s.failed), max(room/2, room-len(s.running)))]
	running := s.running
	hidden := ""
	if over := len(running) + len(failed) - room; over > 0 {
		if room-len(failed) > 1 {
			hidden = fmt.Sprintf("  … and %d more building", over+1)
			over++
		}
		running = running[:len(running)-over]
	}
	nameWidth := f.nameWidth(running, failed)
	var out []string
	for _, t := range running {
		out = append(out, f.row(t.name, f.doing(t), took(f.now.Sub(f.since(t))), nameWidth))
	}
	if hidden != "" {
		out = append(out, hidden)
	}
	spare := room - len(out) - len(failed)
	for _, t := range failed {
		what := f.red("failed")
		step := t.failing()
		if step != nil {
			what += "  " + step.name
		}
		out = append(out, f.row(t.name, what, "", nameWidth))
		if step == nil {
			continue
		}
		tail := step.tail[max(0, len(step.tail)-min(5, spare)):]
		spare -= len(tail)
		for _, l := range tail {
			out = append(out, strings.Repeat(" ", 2+nameWidth+2)+f.faint("| "+l))
		}
	}
	return out
}

// nameWidth is that of the longest name, within a third of the screen.
func (f frame) nameWidth(lists ...[]*target) int {
	w := 0
	for _, list := range lists {
		for _, t := range list {
			w = max(w, ansi.StringWidth(t.name))
		}
	}
	return min(w, max(f.width/3, 8))
}

// row writes a name, what it does, and a time at the right edge.
func (f frame) row(name, what, right string, nameWidth int) string {
	left := "  " + f.bold(pad(fit(name, nameWidth), nameWidth)) + "  " + what
	room := f.width - ansi.StringWidth(right) - 2
	if right == "" || room < nameWidth+12 {
		return left
	}
	return pad(fit(left, room), room) + "  " + right
}

// doing tells what a running target does.
func (f frame) doing(t *target) string {
	s := t.current()
	switch {
	case t.retry != "":
		return f.yellow(t.retry)
	case s != nil && s.silence != nil:
		return f.silent(s.silence)
	case s == nil && t.silence != nil:
		return f.silent(t.silence)
	case s == nil && !t.solved.IsZero():
		return "exporting"
	case s == nil:
		return "preparing"
	}
	what := s.name
	if s.vertex.Total > 0 && s.vertex.Current > 0 {
		what = fmt.Sprintf("%s/%s  %s", units.HumanSize(float64(s.vertex.Current)), units.HumanSize(float64(s.vertex.Total)), what)
	}
	return what
}

func (f frame) silent(s *exec.Silence) string {
	return f.yellow("silent for "+took(f.now.Sub(s.Since))) + ": " + silentDoing(s)
}

// since is when what the target does now began.
func (f frame) since(t *target) time.Time {
	switch s := t.current(); {
	case s != nil:
		return s.began
	case !t.solved.IsZero():
		return t.solved
	}
	return t.began
}
