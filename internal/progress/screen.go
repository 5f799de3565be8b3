package progress

import (
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/kilnbuild/kiln/exec"
)

// A screen draws frames over each other at the end of a terminal's output.
// After each, the cursor is at the start of the line below it. Only the lines
// that changed are written.
type screen struct {
	o       Options
	model   *model
	browser browser
	logs    *book    // nil where nobody can ask for them
	above   []string // lines to be written over the frame, to stay
	shown   []string // lines of the frame that is on the screen
	off     []string // lines of frames that went off its top when it was made smaller
	width   int      // of the terminal when they were written
	height  int
	keys    bool   // keys are read
	stopped bool   // what would be drawn would meet a shell's prompt
	end     string // the summary, once the run is over
	ended   bool
}

func newScreen(o Options, m *model) *screen {
	s := &screen{o: o, model: m}
	if o.Keyboard != nil {
		s.logs = newBook()
	}
	return s
}

func (s *screen) take(it item) {
	switch {
	case it.event != nil:
		s.event(*it.event)
	case it.end:
		s.ended = true
		if it.outcomes != nil {
			width, height := s.size()
			s.end = "\n" + newSummary(s.o, s.model, it.outcomes).glance(max(1, width-1), height-1)
		}
	case it.note != "":
		s.above = append(s.above, oneLine(it.note))
	}
}

// event keeps the lines of targets for those who ask. What concerns the run
// has no row; of that only what is amiss is told.
func (s *screen) event(e exec.Event) {
	if e.Node == "" {
		c := s.model.event(e)
		for _, text := range []string{c.silence, c.warning} {
			if text != "" {
				s.above = append(s.above, strings.Split(text, "\n")...)
			}
		}
		return
	}
	t, lines := teller{palette(s.o.Color)}.event(s.model, e)
	s.logs.add(t, lines)
}

// press takes a key.
func (s *screen) press(key string) {
	switch key {
	case stopping:
		s.stopped = true
		return
	case resumed:
		s.stopped, s.shown, s.off = false, nil, nil // what is on the screen is another program's
		return
	}
	_, height := s.size()
	s.browser.press(key, s.model, height-1)
}

func (s *screen) listening() { s.keys = true }

func (s *screen) text(tick bool) string {
	switch {
	case s.end != "":
		lines := strings.Split(strings.TrimSuffix(s.end, "\n"), "\n")
		return s.over(append(s.above, lines...), nil)
	case s.stopped:
		return ""
	case tick || s.ended || len(s.above) > 0:
		return s.draw(time.Now())
	}
	return ""
}

// size returns columns and lines of the terminal.
func (s *screen) size() (width, height int) {
	width, height = 80, 24
	if s.o.Width != nil {
		if w := s.o.Width(); w > 0 {
			width = w
		}
	}
	if s.o.Height != nil {
		if h := s.o.Height(); h > 0 {
			height = h
		}
	}
	return width, height
}

// draw returns a new frame over the old.
func (s *screen) draw(now time.Time) string {
	if s.ended {
		s.browser, s.keys = browser{}, false
	}
	return s.over(s.above, s.frame(now).draw(&s.browser, s.logs))
}

// frame stays off the last column, where terminals differ in when they wrap,
// and leaves a line for the cursor.
func (s *screen) frame(now time.Time) frame {
	width, height := s.size()
	f := frame{palette: palette(s.o.Color), m: s.model, now: now, width: max(1, width-1), height: height - 1}
	if s.keys {
		f.hint = watchHint
	}
	return f
}

// Nothing that is written for a frame may run into the next row, not even if
// the terminal takes a character for wider than kiln does.
const (
	noWrap = "\x1b[?7l"
	wrap   = "\x1b[?7h"
)

// over returns what replaces the frame that is shown by lines that stay and
// lines of a new frame; "" if nothing changes. It is one update for terminals
// that know such. The rest of the screen is cleared last: some terminals take
// a screen that is cleared from its first line on for worth keeping.
func (s *screen) over(stay, lines []string) string {
	width, height := s.size()
	resized := width != s.width || height != s.height
	anew := len(stay) > 0 || resized
	if !anew && slices.Equal(lines, s.shown) {
		return ""
	}
	var b strings.Builder
	b.WriteString(ansi.SetModeSynchronizedOutput)
	b.WriteByte('\r')
	if len(s.shown) > 0 {
		b.WriteString(s.toTop(width, height, resized))
	}
	for _, l := range stay {
		b.WriteString(ansi.EraseLineRight + l)
		if w := ansi.StringWidth(l); w > width && w%width != 0 {
			b.WriteString(ansi.EraseLineRight) // of the row that the line went on in
		}
		b.WriteString("\r\n")
	}
	old := s.shown
	if anew {
		old = nil
	}
	b.WriteString(changed(old, lines))
	if len(stay) > 0 || len(lines) < len(s.shown) {
		b.WriteString(ansi.EraseScreenBelow)
	}
	if len(stay) > 0 {
		s.off = nil // there is something else between them and the frame
	}
	b.WriteString(ansi.ResetModeSynchronizedOutput)
	s.above, s.shown, s.width, s.height = nil, lines, width, height
	return b.String()
}

// changed returns what makes new lines of old ones, from the first of them to
// the row below the last new one.
func changed(old, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(noWrap)
	same := 0
	skip := func() {
		if same > 0 {
			b.WriteString(ansi.CursorDown(same))
			same = 0
		}
	}
	for i, l := range lines {
		if i < len(old) && old[i] == l {
			same++
			continue
		}
		skip()
		if i < len(old) && ansi.StringWidth(old[i]) > ansi.StringWidth(l) {
			// What is only cleared from somewhere on is as long as it was for
			// some terminals, and broken when they become narrower.
			b.WriteString(ansi.EraseEntireLine)
		}
		b.WriteString(l + ansi.EraseLineRight + "\r\n")
	}
	skip()
	b.WriteString(wrap)
	return b.String()
}

// toTop moves the cursor to the first row of the shown frame, and of what came
// back of those before it. The frame takes up more rows than it has lines if
// the terminal became narrower and broke them. It begins on the first row of
// the screen where some of it went off the top; then it does no harm to climb
// further than that, in a terminal that brings back nothing when it grows.
func (s *screen) toTop(width, height int, resized bool) string {
	up := rowsIn(s.shown, width)
	if !resized {
		return ansi.CursorUp(up)
	}
	if back := min(rowsIn(s.off, width), height-s.height); back > 0 {
		up += back
		s.off = withoutLast(s.off, back, width)
	}
	s.off = append(s.off, withoutLast(s.shown, height-1, width)...)
	// Rows that the terminal has broken must not be put together again when it
	// becomes wider: they are new ones from here on. The first is cleared by
	// itself, as some terminals keep a screen that is cleared from its first.
	return ansi.CursorUp(up) + ansi.EraseEntireLine + ansi.CursorDown(1) + ansi.EraseScreenBelow + ansi.CursorUp(1)
}

// rowsIn is how many rows of a terminal some lines take up.
func rowsIn(lines []string, width int) int {
	if len(lines) == 0 {
		return 0
	}
	return rowsOf(strings.Join(lines, "\n"), width)
}

// withoutLast returns the lines of which something is above the last so many
// rows.
func withoutLast(lines []string, rows, width int) []string {
	n := len(lines)
	for n > 0 {
		if rows -= rowsIn(lines[n-1:n], width); rows < 0 {
			break
		}
		n--
	}
	return lines[:n]
}
