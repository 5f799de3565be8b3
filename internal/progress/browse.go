package progress

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/exec"
)

// Looking round while a run goes on: with the keys a person chooses a target
// and reads its log. Nothing here can stop or change the run.

// A looking is what the screen is of.
type looking int

const (
	watching looking = iota // the frame of the run
	choosing                // the targets that have begun
	reading                 // the log of one
	helping                 // the keys
)

// A browser is what a person has come to with the keys. The zero value
// watches.
type browser struct {
	at     looking
	before looking // helping began
	chosen *target
	top    int  // first line that is seen of the targets, or of the log
	away   bool // from the end of the log, which is followed otherwise
}

// The keys, in the words of the help.
var keyHelp = [][2]string{
	{"↑ ↓ or k j", "choose a target, scroll its log"},
	{"enter", "show the log of the target that is chosen"},
	{"page up, page down", "scroll by a screenful"},
	{"g G or home end", "go to the beginning, to the end"},
	{"q or esc", "go back"},
	{"ctrl-c", "stop the build; twice, end at once"},
}

const (
	watchHint  = "↑↓ choose a target   enter its log   ? keys"
	chooseHint = "↑↓ choose   enter log   q back   ? keys"
	readHint   = "↑↓ scroll   G end   q back   ? keys"
	helpHint   = "q back"
)

// listed is the targets that a person can choose from: what runs, what failed,
// and then the others that have ended, the last first.
func (s sorted) listed() []*target {
	return slices.Concat(s.running, s.failed, s.others, s.done)
}

// press does what a key asks for, on a screen of so many lines.
func (b *browser) press(key string, m *model, height int) {
	switch {
	case key == "?" && b.at != helping:
		b.before, b.at = b.at, helping
	case b.at == helping:
		b.at = b.before
	case b.at == reading:
		b.scroll(key, height)
	default:
		b.choose(key, m.sorted().listed(), height)
	}
}

// steps is how far a key moves, on a screen of so many lines; 0 if it does
// not move.
func steps(key string, height int) int {
	switch key {
	case "up", "k":
		return -1
	case "down", "j":
		return 1
	case "pgup", "b":
		return -max(1, height-3)
	case "pgdn", "space":
		return max(1, height-3)
	case "home", "g":
		return -1 << 30
	case "end", "G":
		return 1 << 30
	}
	return 0
}

func (b *browser) choose(key string, list []*target, height int) {
	if len(list) == 0 {
		return
	}
	at := max(0, slices.Index(list, b.chosen))
	switch n := steps(key, height); {
	case key == "enter" && b.at == watching:
		b.at, b.chosen, b.away = reading, mostWanted(list), false
	case key == "enter":
		b.at, b.chosen, b.away = reading, list[at], false
	case key == "q" || key == "esc":
		b.at, b.chosen = watching, nil
	case n != 0 && b.at == watching:
		b.at, b.chosen, b.top = choosing, list[0], 0
	case n != 0:
		b.chosen = list[min(max(0, at+n), len(list)-1)]
	}
}

// mostWanted is the target whose log a person wants who did not choose one:
// the first that failed, else the first that runs.
func mostWanted(list []*target) *target {
	for _, t := range list {
		if t.outcome != nil && t.outcome.Status == exec.Failed {
			return t
		}
	}
	return list[0]
}

func (b *browser) scroll(key string, height int) {
	n := steps(key, height)
	switch {
	case key == "q" || key == "esc" || key == "enter":
		b.at, b.top = choosing, 0
	case n >= 1<<30:
		b.away = false
	case n != 0:
		b.away = true
		b.top = max(0, b.top+n) // the frame holds it within the log
	}
}

// draw returns the lines of what the browser is at.
func (f frame) draw(b *browser, logs *book) []string {
	switch {
	case b.at == choosing && f.height > 2:
		return f.targets(b)
	case b.at == reading && f.height > 2:
		return f.log(b, logs.page(b.chosen))
	case b.at == helping:
		return f.help()
	}
	return f.lines()
}

// targets draws a row for each target that has begun, as far as there is room
// round the chosen one.
func (f frame) targets(b *browser) []string {
	s := f.m.sorted()
	list := s.listed()
	room := f.height - 2
	at := max(0, slices.Index(list, b.chosen))
	b.top = max(0, min(b.top, at, len(list)-room), at-room+1)
	seen := list[b.top:min(len(list), b.top+room)]
	nameWidth := f.nameWidth(seen)
	out := []string{f.headline(s)}
	for i, t := range seen {
		row := f.any(t, nameWidth)
		if b.top+i == at {
			row = f.bold(">") + strings.TrimPrefix(row, " ")
		}
		out = append(out, row)
	}
	return f.fitted(append(out, f.footer(chooseHint, b.top, len(seen), len(list))))
}

// any is the row of a target, whatever it is at.
func (f frame) any(t *target, nameWidth int) string {
	switch {
	case t.outcome == nil:
		return f.running(t, nameWidth)
	case t.outcome.Status == exec.Failed:
		return f.row(t.name, f.failure(t, t.failing()), "", nameWidth)
	}
	return f.row(t.name, teller{f.palette}.ending(t, *t.outcome), "", nameWidth)
}

// log draws the log of the chosen target. Lines that are too long go on in
// the next row.
func (f frame) log(b *browser, p *page) []string {
	t := b.chosen
	head := f.bold(t.name) + "  "
	if t.outcome == nil {
		head = f.between(head+f.doing(t), clock(f.now.Sub(f.since(t))))
	} else {
		head += teller{f.palette}.ending(t, *t.outcome)
	}
	var rows []string
	if p.lost > 0 {
		rows = append(rows, f.faint(fmt.Sprintf("… %d lines before are not kept", p.lost)))
	}
	for _, l := range p.lines {
		if len(l) <= f.width { // it is not wider than it has bytes
			rows = append(rows, l)
			continue
		}
		rows = append(rows, strings.Split(ansi.Hardwrap(l, max(1, f.width), true), "\n")...)
	}
	if len(rows) == 0 {
		rows = []string{f.faint("nothing was printed yet")}
	}
	room := f.height - 2
	last := max(0, len(rows)-room)
	if b.away = b.away && b.top < last; !b.away {
		b.top = last
	}
	seen := rows[b.top:min(len(rows), b.top+room)]
	out := append([]string{head}, seen...)
	for len(out) < f.height-1 {
		out = append(out, "")
	}
	return f.fitted(append(out, f.footer(readHint, b.top, len(seen), len(rows))))
}

// help draws the keys.
func (f frame) help() []string {
	out := []string{f.bold("keys")}
	for _, k := range keyHelp {
		out = append(out, "  "+pad(k[0], 20)+k[1])
	}
	if len(out) > f.height-1 {
		out = out[:max(1, f.height-1)]
	}
	return f.fitted(append(out, f.faint(helpHint)))
}

// footer tells of the keys, and which of how many lines are seen.
func (f frame) footer(hint string, top, seen, all int) string {
	where := ""
	if seen < all {
		where = fmt.Sprintf("%d–%d of %d", top+1, top+seen, all)
	}
	return f.between(f.faint(hint), f.faint(where))
}
