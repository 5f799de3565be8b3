package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/exec"
)

// A frame is one picture of the model: at most height lines, none longer than
// width.
//
//	12.3s  3 of 9 targets done (1 cached), 1 failed, 2 building, 3 waiting
//	  api   [build 4/7] RUN go build ./...                             8.1s
//	  web   [1/3] FROM node:22              pulled 31MB/94MB 12MB/s    3.4s
//	  lint  failed  [2/2] RUN golint
//	        | main.go:3: exported thing has no comment
//	  done: docs, tools, base
//	  waiting: app, worker, e2e
//	  ↑↓ choose a target   enter its log   ? keys
type frame struct {
	palette
	m             *model
	now           time.Time
	width, height int
	hint          string // the last line, where there is room; "" for none
}

// sorted is the targets by what the frame does with them. Of those that are
// built, the ones that the builder does something for come first: of hundreds
// it may work at few.
type sorted struct {
	running, failed, done, waiting, others []*target
	cached                                 int // of those that are done
	total                                  int
}

func (m *model) sorted() sorted {
	s := sorted{total: len(m.targets)}
	var idle []*target // begun, but the builder has not come to them
	for _, t := range m.targets {
		switch {
		case t.outcome == nil && t.began.IsZero():
			s.waiting = append(s.waiting, t)
		case t.outcome == nil && (t.worked || t.current() != nil):
			s.running = append(s.running, t)
		case t.outcome == nil:
			idle = append(idle, t)
		}
	}
	s.running = append(s.running, idle...)
	for _, t := range slices.Backward(m.ended) {
		switch t.outcome.Status {
		case exec.Failed:
			s.failed = append(s.failed, t)
		case exec.Built:
			s.done = append(s.done, t)
			if t.wasCached {
				s.cached++
			}
		default:
			s.others = append(s.others, t)
		}
	}
	slices.Reverse(s.failed) // the first one matters most
	return s
}

// lines draws the frame.
func (f frame) lines() []string {
	if f.height < 1 || len(f.m.targets) == 0 {
		return nil
	}
	s := f.m.sorted()
	bottom := f.collapsed(s)
	if f.hint != "" && f.height >= 6 {
		bottom = append(bottom, "  "+f.faint(f.hint))
	}
	body := len(s.running) + len(s.failed)
	room := f.height - 1 - len(bottom)
	for room < min(body, 2) && len(bottom) > 0 {
		bottom = bottom[:len(bottom)-1]
		room++
	}
	out := append([]string{f.headline(s)}, f.body(s, room)...)
	return f.fitted(append(out, bottom...))
}

// fitted cuts lines to what the frame may be.
func (f frame) fitted(lines []string) []string {
	for i, l := range lines {
		lines[i] = fit(l, f.width)
	}
	return lines[:min(len(lines), f.height)]
}

// headline counts, in few words where there is little room.
func (f frame) headline(s sorted) string {
	narrow := f.width < 60
	done := fmt.Sprintf("%d of %d targets done", len(s.done), s.total)
	if narrow {
		done = fmt.Sprintf("%d/%d done", len(s.done), s.total)
	}
	if s.cached > 0 && !narrow {
		done += fmt.Sprintf(" (%d cached)", s.cached)
	}
	parts := []string{done}
	for _, p := range []struct {
		n     int
		word  string
		paint func(string) string
	}{{len(s.failed), "failed", f.red}, {len(s.running), "building", f.plain}, {len(s.others), "not built", f.yellow}, {len(s.waiting), "waiting", f.plain}} {
		if p.n > 0 {
			parts = append(parts, p.paint(fmt.Sprintf("%d %s", p.n, p.word)))
		}
	}
	left := f.bold(clock(f.now.Sub(f.m.began))) + "  " + strings.Join(parts, ", ")
	return f.between(left, f.faint(f.moved()))
}

// moved tells how much the run has moved so far, of what is worth a word.
func (f frame) moved() string {
	var out []string
	for _, w := range ways {
		if n := f.m.bytes[w]; n >= 1e6 {
			out = append(out, string(w)+" "+size(n))
		}
	}
	return strings.Join(out, ", ")
}

// between writes a text at the left edge and one at the right, if there is
// room for both.
func (f frame) between(left, right string) string {
	gap := f.width - ansi.StringWidth(left) - ansi.StringWidth(right)
	if right == "" || gap < 2 {
		return left
	}
	return left + strings.Repeat(" ", gap) + right
}

// collapsed returns a line each for the targets that have no row; of those
// that have ended, the last ones are first.
func (f frame) collapsed(s sorted) []string {
	var out []string
	for _, p := range []struct {
		list []*target
		head string
		text string
	}{{s.done, f.green("done:"), "done:"}, {s.others, f.yellow("not built:"), "not built:"}, {s.waiting, f.faint("waiting:"), "waiting:"}} {
		if len(p.list) > 0 {
			out = append(out, "  "+p.head+" "+named(p.list, f.width-len(p.text)-3))
		}
	}
	return out
}

// named lists as many names as fit into a width, one at least, and counts the
// others.
func named(list []*target, width int) string {
	text := list[0].name
	for i, t := range list[1:] {
		more := fmt.Sprintf(" … and %d more", len(list)-i-1)
		next := text + ", " + t.name
		room := width
		if i+2 < len(list) {
			room -= len(more) // there may be need for it after this name
		}
		if ansi.StringWidth(next) > room {
			return text + more
		}
		text = next
	}
	return text
}

// body returns the rows of running and then failed targets, and, as far as
// there is room, the end of the log of what failed.
func (f frame) body(s sorted, room int) []string {
	if room < 1 {
		return nil
	}
	failed, moreFailed := shown(s.failed, max(room/2, room-len(s.running)), "failed")
	running, moreRunning := shown(s.running, room-len(failed)-min(1, len(moreFailed)), "building")
	nameWidth := f.nameWidth(running, failed)
	var out []string
	for _, t := range running {
		out = append(out, f.running(t, nameWidth))
	}
	if moreRunning != "" {
		out = append(out, "  "+moreRunning)
	}
	spare := room - len(out) - len(failed) - min(1, len(moreFailed))
	for _, t := range failed {
		step := t.failing()
		out = append(out, f.row(t.name, f.failure(t, step), "", nameWidth))
		if step == nil {
			continue
		}
		tail := step.tail[max(0, len(step.tail)-min(5, spare)):]
		spare -= len(tail)
		for _, l := range tail {
			out = append(out, strings.Repeat(" ", 2+nameWidth+2)+f.faint("| "+l))
		}
	}
	if moreFailed != "" {
		out = append(out, "  "+moreFailed)
	}
	return out
}

// shown returns the targets that have a row where there is room for some, and
// what to say of the others, which takes a row of the room; "" if there are
// none or no row is left for it.
func shown(list []*target, room int, word string) (rows []*target, more string) {
	if len(list) <= room {
		return list, ""
	}
	if room < 2 {
		return list[:max(0, room)], ""
	}
	return list[:room-1], fmt.Sprintf("… and %d more %s", len(list)-room+1, word)
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

// row writes a name, what it does, and something at the right edge.
func (f frame) row(name, what, right string, nameWidth int) string {
	left := "  " + f.bold(pad(abridged(name, nameWidth), nameWidth)) + "  " + what
	room := f.width - ansi.StringWidth(right) - 2
	if right == "" || room < nameWidth+12 {
		return left
	}
	return pad(fit(left, room), room) + "  " + right
}

// running is the row of a target that is being built.
func (f frame) running(t *target, nameWidth int) string {
	right := fmt.Sprintf("%5s", clock(f.now.Sub(f.since(t))))
	if s := t.current(); s != nil && f.width >= 50 {
		if text := s.moves.text(f.now, f.width < 80); text != "" {
			right = text + "  " + right
		}
	}
	return f.row(t.name, f.doing(t), right, nameWidth)
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
		if next := t.next(); next != nil {
			return "next: " + next.name
		}
		return "preparing"
	}
	if part := s.moves.part(); part != "" {
		return s.name + ": " + oneLine(part)
	}
	return s.name
}

// failure tells in short why a target failed.
func (f frame) failure(t *target, step *step) string {
	switch {
	case step != nil:
		return f.red("failed") + "  " + step.name
	case t.outcome.Err != nil:
		return f.red("failed") + "  " + cause(*t.outcome)
	}
	return f.red("failed")
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
