// Package diag writes diagnostics for people, with the lines that they are
// about, and as JSON for programs.
//
// What stands in a file is shown as it is written there, except what looks
// like a password or token (redact.go).
package diag

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// Note is a severity below that of a warning: worth a look, and most likely
// meant so.
const Note hcl.DiagnosticSeverity = 'Z' // behind the others in their order

// SeverityWord is how a severity is called: error, warning or note.
func SeverityWord(s hcl.DiagnosticSeverity) string {
	switch s {
	case Note:
		return "note"
	case hcl.DiagWarning:
		return "warning"
	}
	return "error"
}

// Options change how text looks. The zero value is plain text, unwrapped and
// without snippets.
type Options struct {
	Sources map[string][]byte // files by the name that diagnostics know them by; one that is missing has no snippet
	Color   bool
	Width   int // of the terminal: long lines are wrapped or cut; 0 is no limit
}

// Files returns the Sources of files as they were read.
func Files(files []config.File) map[string][]byte {
	byName := make(map[string][]byte, len(files))
	for _, f := range files {
		byName[f.Name] = f.Data
	}
	return byName
}

// Sorted returns diags without repeats: first those that stand in no file,
// then by file, in the order in which diags first name the files, and by
// position.
func Sorted(diags hcl.Diagnostics) hcl.Diagnostics {
	rank := map[string]int{"": 0}
	seen := map[string]bool{}
	var out hcl.Diagnostics
	for _, d := range diags {
		if d == nil {
			continue
		}
		if name := file(d); name != "" && rank[name] == 0 {
			rank[name] = len(rank)
		}
		key := fmt.Sprint(d.Severity, d.Summary, "\x00", d.Detail, "\x00", d.Subject)
		if !seen[key] {
			seen[key] = true
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b *hcl.Diagnostic) int {
		x, y := start(a), start(b)
		return cmp.Or(
			cmp.Compare(rank[file(a)], rank[file(b)]),
			cmp.Compare(x.Line, y.Line),
			cmp.Compare(x.Column, y.Column),
			cmp.Compare(a.Severity, b.Severity), // errors before warnings
		)
	})
	return out
}

// file returns the file that d stands in; "" if it stands in none, as what
// the command line says.
func file(d *hcl.Diagnostic) string {
	if d.Subject == nil || d.Subject.Start.Line == 0 {
		return ""
	}
	return d.Subject.Filename
}

func start(d *hcl.Diagnostic) hcl.Pos {
	if d.Subject == nil {
		return hcl.Pos{}
	}
	return d.Subject.Start
}

// Write writes Text to w.
func Write(w io.Writer, diags hcl.Diagnostics, o Options) error {
	_, err := io.WriteString(w, Text(diags, o))
	return err
}

// Text returns diags, sorted, each once, with a count at the end if there are
// several:
//
//	error: Unknown target
//	  --> build.hcl:12:23
//	   |
//	11 | target "app" {
//	12 |   contexts = { base = "target:bse" }
//	   |                       ^^^^^^^^^^^^
//	  Target "app" reads "target:bse", but no target has that name.
//
// It is "" if there is none.
func Text(diags hcl.Diagnostics, o Options) string {
	var b strings.Builder
	diags = Sorted(diags)
	s := newSheets(o)
	for i, d := range diags {
		if i > 0 {
			b.WriteByte('\n')
		}
		s.diagnostic(&b, d)
	}
	if len(diags) > 1 {
		fmt.Fprintf(&b, "\n%s\n", count(diags))
	}
	return b.String()
}

func count(diags hcl.Diagnostics) string {
	n := map[hcl.DiagnosticSeverity]int{}
	for _, d := range diags {
		n[d.Severity]++
	}
	var parts []string
	for _, s := range []hcl.DiagnosticSeverity{hcl.DiagError, hcl.DiagWarning, Note} {
		if n[s] > 0 {
			parts = append(parts, plural(n[s], SeverityWord(s)))
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// sheets draws diagnostics; it keeps the lines of the files it has shown.
type sheets struct {
	o     Options
	lines map[string][]string
}

func newSheets(o Options) *sheets { return &sheets{o: o, lines: map[string][]string{}} }

// of returns the lines of a file, or nil.
func (s *sheets) of(name string) []string {
	lines, ok := s.lines[name]
	if !ok {
		lines = split(s.o.Sources[name])
		s.lines[name] = lines
	}
	return lines
}

func (s *sheets) diagnostic(b *strings.Builder, d *hcl.Diagnostic) {
	word, color := SeverityWord(d.Severity), ansi.Red
	switch d.Severity {
	case hcl.DiagWarning:
		color = ansi.Yellow
	case Note:
		color = ansi.Cyan
	}
	fmt.Fprintf(b, "%s %s\n", s.paint(ansi.Style{}.Bold().ForegroundColor(color), word+":"), s.paint(ansi.Style{}.Bold(), Visible(d.Summary)))
	if d.Subject != nil && d.Subject.Filename != "" {
		fmt.Fprintf(b, "  %s %s\n", s.paint(faint, "-->"), Place(*d.Subject))
		s.snippet(b, d, ansi.Style{}.ForegroundColor(color))
	}
	for _, line := range values(d) {
		b.WriteString(s.wrapped(line))
	}
	for line := range strings.Lines(d.Detail) {
		b.WriteString(s.wrapped(Visible(strings.TrimRight(line, "\n"))))
	}
}

var faint = ansi.Style{}.Faint()

func (s *sheets) paint(style ansi.Style, text string) string {
	if !s.o.Color {
		return text
	}
	return style.Styled(text)
}

// wrapped returns a line of text, indented, on as many lines as it needs.
func (s *sheets) wrapped(line string) string {
	indent := "  " + line[:len(line)-len(strings.TrimLeft(line, " "))]
	text := strings.TrimLeft(line, " ")
	if room := s.o.Width - len(indent); s.o.Width > 0 {
		text = ansi.Wordwrap(text, max(room, 20), "")
	}
	var b strings.Builder
	for l := range strings.Lines(text) {
		b.WriteString(indent)
		b.WriteString(strings.TrimRight(l, " \n"))
		b.WriteByte('\n')
	}
	return b.String()
}

// Place returns where a range begins, "file:line:column", or just its name
// where that is no file, as for what the command line says.
func Place(r hcl.Range) string {
	if r.Start.Line == 0 {
		return Visible(r.Filename)
	}
	return fmt.Sprintf("%s:%d:%d", Visible(r.Filename), r.Start.Line, r.Start.Column)
}
