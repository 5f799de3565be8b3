package progress

import (
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// A screen draws frames over each other at the end of a terminal's output.
// After each, the cursor is at the start of the line below it.
type screen struct {
	o     Options
	model *model
	above []string // lines to be written over the frame, to stay
	shown []string // lines of the frame that is on the screen
	end   string   // the summary, once the run is over
	ended bool
}

func (s *screen) take(it item) {
	switch {
	case it.event != nil:
		if c := s.model.event(*it.event); c.silence != "" && c.target.name == "" { // it has no row
			s.above = append(s.above, c.silence)
		}
	case it.end:
		s.ended = true
		if it.outcomes != nil {
			width, _ := s.size()
			s.end = "\n" + newSummary(s.o, s.model, it.outcomes).all(max(1, width-1))
		}
	case it.note != "":
		s.above = append(s.above, oneLine(it.note))
	}
}

func (s *screen) text(tick bool) string {
	switch {
	case s.end != "":
		lines := strings.Split(strings.TrimSuffix(s.end, "\n"), "\n")
		return s.over(append(s.above, lines...), nil)
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
func (s *screen) draw(now time.Time) string { return s.over(s.above, s.frame(now).lines()) }

// frame stays off the last column, where terminals differ in when they wrap,
// and leaves a line for the cursor.
func (s *screen) frame(now time.Time) frame {
	width, height := s.size()
	return frame{palette: palette(s.o.Color), m: s.model, now: now, width: max(1, width-1), height: height - 1}
}

// over returns what replaces the frame that is shown by lines that stay and
// lines of a new frame. It is one update for terminals that know such. The
// rest of the screen is cleared last: some terminals take a screen that is
// cleared from its first line on for worth keeping.
func (s *screen) over(stay, lines []string) string {
	width, _ := s.size()
	var b strings.Builder
	b.WriteString(ansi.SetModeSynchronizedOutput)
	b.WriteByte('\r')
	if rows := s.rows(width); rows > 0 {
		b.WriteString(ansi.CursorUp(rows))
	}
	for _, l := range append(slices.Clip(stay), lines...) {
		b.WriteString(ansi.EraseLineRight + l)
		if w := ansi.StringWidth(l); w > width && w%width != 0 {
			b.WriteString(ansi.EraseLineRight) // of the row that the line went on in
		}
		b.WriteString("\r\n")
	}
	b.WriteString(ansi.EraseScreenBelow)
	b.WriteString(ansi.ResetModeSynchronizedOutput)
	s.above, s.shown = nil, lines
	return b.String()
}

// rows is how many lines the shown frame takes up: more than it has if the
// terminal became narrower since and broke them.
func (s *screen) rows(width int) int {
	rows := 0
	for _, l := range s.shown {
		rows += max(1, (ansi.StringWidth(l)+width-1)/width)
	}
	return rows
}
