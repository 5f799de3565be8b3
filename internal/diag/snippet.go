package diag

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/hashicorp/hcl/v2"
)

// maxLines is how many lines a snippet shows in one piece; of more it shows
// the first and the last.
const maxLines = 8

// A Span is some lines of a source that need not be a build file, such as
// those of a failing step of a Dockerfile.
type Span struct {
	Name   string // of the file, for people
	Start  int    // first line, from 1
	End    int    // last line, inclusive
	Source []byte // of the whole file
}

// Snippet returns the lines of a span, marked, with two lines round it:
//
//	   11 | COPY . .
//	>> 12 | RUN make
//	   13 | CMD ["app"]
//
// It is "" if the source has no such line.
func Snippet(s Span, o Options) string {
	lines := split(s.Source)
	end := min(max(s.End, s.Start), len(lines))
	if s.Start < 1 || s.Start > end {
		return ""
	}
	from, to := max(1, s.Start-2), min(len(lines), end+2)
	sh := newSheets(o)
	digits := len(strconv.Itoa(to))
	var b strings.Builder
	for n := from; n <= to; n++ {
		if end-s.Start >= maxLines && n > s.Start+maxLines/2 && n < end-1 {
			if n == s.Start+maxLines/2+1 {
				fmt.Fprintf(&b, "   %*s ...\n", digits, "")
			}
			continue
		}
		inside := n >= s.Start && n <= end
		mark, style := "  ", faint
		if inside {
			mark, style = ">>", ansi.Style{}.ForegroundColor(ansi.Red)
		}
		gutter := fmt.Sprintf("%s %*d |", mark, digits, n)
		text, _ := sh.crop(expand(Redact(lines[n-1])), 0, len(gutter)+1)
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(sh.paint(style, gutter)+" "+text, " "))
	}
	return b.String()
}

// snippet draws the lines of a diagnostic with its range underlined.
func (s *sheets) snippet(b *strings.Builder, d *hcl.Diagnostic, style ansi.Style) {
	lines := s.of(d.Subject.Filename)
	first, last := d.Subject.Start.Line, min(d.Subject.End.Line, len(lines))
	if first < 1 || first > len(lines) {
		return
	}
	last = max(first, last)
	from, to := s.around(d, lines, first, last)
	digits := len(strconv.Itoa(to))
	gutter := func(n string) string { return s.paint(faint, fmt.Sprintf("%*s |", digits, n)) }
	fmt.Fprintf(b, "%s\n", gutter(""))
	for n := from; n <= to; n++ {
		if skip := to - from - maxLines; skip > 0 && n > first+maxLines/2 && n < last-1 {
			if n == first+maxLines/2+1 {
				fmt.Fprintf(b, "%*s ...\n", digits, "")
			}
			continue
		}
		text, under := s.underlined(lines[n-1], n, d.Subject, digits+3)
		fmt.Fprintf(b, "%s\n", strings.TrimRight(gutter(strconv.Itoa(n))+" "+text, " "))
		if strings.TrimSpace(under) != "" {
			fmt.Fprintf(b, "%s %s\n", gutter(""), s.paint(style, under))
		}
	}
}

// around returns which lines to show: the subject's, and those of the context
// if there is one and it is short, else the line before that is not blank.
func (s *sheets) around(d *hcl.Diagnostic, lines []string, first, last int) (from, to int) {
	if c := d.Context; c != nil && c.Filename == d.Subject.Filename && c.End.Line-c.Start.Line < maxLines && c.Start.Line > 0 {
		return min(first, c.Start.Line), max(last, min(c.End.Line, len(lines)))
	}
	if first > 1 && strings.TrimSpace(lines[first-2]) != "" {
		first--
	}
	return first, last
}

// underlined returns line n as shown, and carets under what r holds of it.
func (s *sheets) underlined(line string, n int, r *hcl.Range, gutter int) (text, under string) {
	line = Redact(line)
	if n < r.Start.Line || n > max(r.End.Line, r.Start.Line) {
		text, _ = s.crop(expand(line), 0, gutter)
		return text, ""
	}
	begin, end := len(line)-len(strings.TrimLeft(line, " \t")), len(strings.TrimRight(line, " \t"))
	if n == r.Start.Line {
		begin = column(line, r.Start.Column)
	}
	if n == r.End.Line {
		end = column(line, r.End.Column)
	}
	left := ansi.StringWidth(expand(line[:begin]))
	width := 1
	if end > begin {
		width = max(1, ansi.StringWidth(expand(line[:end]))-left)
	} else if n != r.Start.Line {
		return expand(line), ""
	}
	text, cut := s.crop(expand(line), left, gutter)
	left -= cut
	if s.o.Width > 0 {
		width = max(1, min(width, s.o.Width-gutter-left))
	}
	return text, strings.Repeat(" ", max(left, 0)) + strings.Repeat("^", width)
}

// crop cuts text to the terminal so that what is at column keep can be seen.
// It tells how many columns it took away on the left.
func (s *sheets) crop(text string, keep, gutter int) (string, int) {
	room := s.o.Width - gutter
	if s.o.Width == 0 || ansi.StringWidth(text) <= room {
		return text, 0
	}
	room = max(room, 10)
	cut := 0
	if keep > room*2/3 {
		cut = keep - room/3
		text = ansi.TruncateLeft(text, cut+3, "...")
	}
	return ansi.Truncate(text, room, "..."), cut
}

// column returns the byte of a line at a column as HCL counts them, in
// characters from 1.
func column(line string, col int) int {
	at := 0
	for ; col > 1 && at < len(line); col-- {
		cluster, _ := ansi.FirstGraphemeCluster(line[at:], ansi.GraphemeWidth)
		at += max(1, len(cluster))
	}
	return at
}

// split returns the lines of a source, without their ends.
func split(data []byte) []string {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []string
	for line := range bytes.Lines(data) {
		out = append(out, strings.TrimRight(string(line), "\r\n"))
	}
	return out
}

// expand returns a line as a terminal can show it: tabs as blanks, and what
// would steer the terminal as a replacement character.
func expand(line string) string { return Visible(strings.ReplaceAll(line, "\t", "    ")) }

// Visible returns text with a replacement character for what would steer a
// terminal, line ends among it, or cannot be shown.
func Visible(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, steers) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
}

// steers reports whether r moves the cursor, changes the direction of writing,
// or begins a sequence of control characters.
func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
