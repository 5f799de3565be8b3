package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/internal/runs"
)

// WriteMarkdown writes the report in GitHub's Markdown, in at most so many
// bytes: rows of the tables are left out, those of failed targets last.
func (r *Report) WriteMarkdown(w io.Writer, most int) error {
	for _, rows := range []int{200, 50, 10, 0} {
		if text := r.markdown(rows); len(text) <= most {
			_, err := io.WriteString(w, text)
			return err
		}
	}
	s := r.Summary
	short := fmt.Sprintf("### kiln build: %s\n\n%s in %s.\n", s.Status, s.counts(), took(s.Seconds))
	if len(short) > most {
		return nil // not even that fits
	}
	_, err := io.WriteString(w, short)
	return err
}

// markdown is the report with so many rows in a table.
func (r *Report) markdown(rows int) string {
	var b strings.Builder
	s := r.Summary
	fmt.Fprintf(&b, "### %s kiln build: %s\n\n", icon(s.Status), s.Status)
	fmt.Fprintf(&b, "%s in %s; %d of %d steps cached%s", s.counts(), took(s.Seconds), s.StepsCached, s.Steps, percent(s.StepsCached, s.Steps))
	if bytes := s.bytes(); bytes != "" {
		b.WriteString("; " + bytes)
	}
	b.WriteString(".")
	if c := r.Before; c != nil {
		fmt.Fprintf(&b, " The run before took %s (now %s).", took(c.Seconds), signed(s.Seconds-c.Seconds))
	}
	b.WriteString("\n\n")
	if best := r.Critical.best(); best >= 0 && s.Seconds >= 1 {
		p := r.Critical.Path[best]
		fmt.Fprintf(&b, "First to speed up: **%s** %s, takes %s; %s.\n\n", cell(p.Target), code(p.Step), took(p.Seconds), p.advice())
	}
	r.markdownFailures(&b, rows)
	r.markdownTargets(&b, rows)
	return b.String()
}

func icon(status string) string {
	switch status {
	case "built":
		return "✅"
	case "failed":
		return "❌"
	}
	return "⚠️"
}

// logLines is how many lines of a failed step's log are shown.
const logLines = 20

func (r *Report) markdownFailures(b *strings.Builder, rows int) {
	for _, t := range r.Run.Targets {
		if t.Status != "failed" || t.Failure == nil {
			continue
		}
		if rows--; rows < 0 {
			return
		}
		f := t.Failure
		fmt.Fprintf(b, "#### %s failed%s\n\n", cell(t.Name), at(" at ", cell(f.File), f.Line))
		text := f.Text
		if f.Log != "" {
			lines := strings.Split(f.Log, "\n")
			text += "\n\n" + strings.Join(lines[max(0, len(lines)-logLines):], "\n")
		}
		b.WriteString(fenced(text) + "\n")
	}
}

func (r *Report) markdownTargets(b *strings.Builder, rows int) {
	targets := slices.Clone(r.Run.Targets)
	if len(targets) > rows { // those with something to tell
		slices.SortStableFunc(targets, func(a, b *runs.Target) int { return rank(b) - rank(a) })
	}
	shown := targets[:min(len(targets), rows)]
	if len(shown) > 0 {
		b.WriteString("| Target | Result | Time | Cached | Digest |\n| --- | --- | ---: | ---: | --- |\n")
	}
	for _, t := range shown {
		cached, all := t.Counts()
		digest := ""
		if len(t.Digest) > 19 {
			digest = code(t.Digest[7:19])
		}
		fmt.Fprintf(b, "| %s | %s | %s | %d/%d | %s |\n", cell(t.Name), result(t), took(seconds(t.Took())), cached, all, digest)
	}
	if over := len(targets) - len(shown); over > 0 {
		fmt.Fprintf(b, "\nand %d more targets\n", over)
	}
}

// rank says how much there is to tell of a target.
func rank(t *runs.Target) int {
	switch result(t) {
	case "failed":
		return 3
	case "skipped", "cancelled":
		return 2
	case "built":
		return 1
	}
	return 0
}

// cell escapes what would mean something in a table of Markdown.
func cell(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.NewReplacer(
		`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "[", `\[`, "]", `\]`, "#", `\#`, "~", `\~`, "@", "&#64;",
	).Replace(text)
}

// code is text as code within a line.
func code(text string) string {
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		return fence + " " + text + " " + fence
	}
	return fence + text + fence
}

// fenced is text as a block of code.
func fenced(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "text\n" + text + "\n" + fence + "\n"
}
