package progress

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// clean returns a line of somebody else's text as it can be shown anywhere:
// without escape sequences, control characters and changes of the writing
// direction, in valid UTF-8, tabs as blanks. Of a line that was drawn over by
// carriage returns it returns the last state.
func clean(line []byte) string {
	line = bytes.TrimRight(line, "\r\n")
	line = line[bytes.LastIndexByte(line, '\r')+1:]
	s := strings.ToValidUTF8(string(line), string(utf8.RuneError))
	if !strings.ContainsFunc(s, unwanted) {
		return s
	}
	s = ansi.Strip(strings.ReplaceAll(s, "\t", "    "))
	return strings.Map(func(r rune) rune {
		if unwanted(r) {
			return -1
		}
		return r
	}, s)
}

// cleanLines cleans text of several lines; blank ones at the end go.
func cleanLines(text []byte) []string {
	var out []string
	for line := range bytes.Lines(text) {
		out = append(out, clean(line))
	}
	for len(out) > 0 && strings.TrimSpace(out[len(out)-1]) == "" {
		out = out[:len(out)-1]
	}
	return out
}

// oneLine cleans text that should be one line, such as the name of a step.
func oneLine(text string) string { return strings.Join(cleanLines([]byte(text)), " ") }

func unwanted(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// maxLine is how many bytes a line may have before it is cut in two.
const maxLine = 64 << 10

// A splitter makes lines of text that comes in pieces.
type splitter struct{ rest []byte }

// add returns the lines that p completes.
func (s *splitter) add(p []byte) []string {
	s.rest = append(s.rest, p...)
	var out []string
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if (i < 0 || i >= maxLine) && len(s.rest) >= maxLine {
			i = maxLine - 1
		}
		if i < 0 {
			break
		}
		out = append(out, clean(s.rest[:i+1]))
		s.rest = s.rest[i+1:]
	}
	// A progress bar draws over itself without ever ending its line.
	if n := len(s.rest); n > 0 {
		s.rest = s.rest[bytes.LastIndexByte(s.rest[:n-1], '\r')+1:]
	}
	s.rest = bytes.Clone(s.rest) // not the whole of what came before it
	return out
}

// end returns the line that was begun, if there is one.
func (s *splitter) end() []string {
	if len(s.rest) == 0 {
		return nil
	}
	line := clean(s.rest)
	s.rest = nil
	return []string{line}
}

// took writes a duration with as many digits as a person wants.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return "0.0s"
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// clock is took for what goes on: tenths only while it is short, so that not
// every row is another one ten times a second.
func clock(d time.Duration) string {
	if d >= 10*time.Second && d < time.Minute {
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	return took(d)
}

// short returns the digest's first digits.
func short(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		hex = digest
	}
	return hex[:min(12, len(hex))]
}

// fit cuts a line to a width; 0 is no limit.
func fit(line string, width int) string {
	if width <= 0 {
		return line
	}
	return ansi.Truncate(line, width, "…")
}

// abridged cuts a name to a width in its middle: names of one family differ at
// their ends.
func abridged(name string, width int) string {
	w := ansi.StringWidth(name)
	if w <= width || width < 4 {
		return fit(name, width)
	}
	tail := (width - 1) / 2
	head := ansi.Cut(name, 0, width-1-tail) + "…"
	end := ansi.Cut(name, w-tail, w)
	if ansi.StringWidth(head+end) > width { // a wide character is not cut in two
		end = ansi.Cut(name, w-tail+1, w)
	}
	return head + end
}

// pad adds blanks up to a width.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// A palette paints text, or doesn't.
type palette bool

func (p palette) paint(s string, style ansi.Style) string {
	if !p || s == "" {
		return s
	}
	return style.Styled(s)
}

func (p palette) plain(s string) string { return s }
func (p palette) bold(s string) string  { return p.paint(s, ansi.Style{}.Bold()) }
func (p palette) faint(s string) string {
	return p.paint(s, ansi.Style{}.Faint())
}
func (p palette) red(s string) string {
	return p.paint(s, ansi.Style{}.ForegroundColor(ansi.Red))
}
func (p palette) green(s string) string {
	return p.paint(s, ansi.Style{}.ForegroundColor(ansi.Green))
}
func (p palette) yellow(s string) string {
	return p.paint(s, ansi.Style{}.ForegroundColor(ansi.Yellow))
}
