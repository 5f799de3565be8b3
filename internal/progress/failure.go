package progress

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/diag"
)

// maxLog and maxError bound how many lines of a log and of an error are told.
const (
	maxLog   = 40
	maxError = 40
)

// tellFailures writes every failure in full:
//
//	failed: api, stage build, services/api/Dockerfile:12
//	   11 | COPY . .
//	>> 12 | RUN make
//	  command:   make
//	  exit code: 2
//	  the end of its log:
//	    | make: *** no rule to make target
func (s *summary) tellFailures(b *strings.Builder) {
	failed, more := s.failed()
	for _, o := range failed {
		s.failure(b, o)
		b.WriteByte('\n')
	}
	if more > 0 {
		fmt.Fprintf(b, "%s %d more targets; kiln report tells why\n\n", s.red("failed:"), more)
	}
}

// failed returns the failures that are told, and how many there are beside
// them.
func (s *summary) failed() (told []exec.Outcome, more int) {
	for _, o := range s.outcomes {
		switch {
		case o.Status != exec.Failed:
		case s.most > 0 && len(told) == s.most:
			more++
		default:
			told = append(told, o)
		}
	}
	return told, more
}

func (s *summary) failure(b *strings.Builder, o exec.Outcome) {
	fmt.Fprintf(b, "%s %s", s.red("failed:"), s.bold(o.Node.Name()))
	if on := s.m.places.Builders(o.Node.Name()); len(on) > 0 {
		fmt.Fprintf(b, ", on %s", oneLine(strings.Join(on, " and ")))
	}
	var source *exec.SourceError
	if !errors.As(o.Err, &source) {
		b.WriteByte('\n')
		s.indented(b, cleanLines([]byte(o.Err.Error())), maxError)
		s.log(b, s.tailOf(o))
		return
	}
	if source.Stage != "" {
		fmt.Fprintf(b, ", stage %s", oneLine(source.Stage))
	}
	fmt.Fprintf(b, ", %s\n", s.bold(place(source)))
	b.WriteString(diag.Snippet(diag.Span{Start: source.StartLine, End: source.EndLine, Source: source.Source}, diag.Options{Color: bool(s.palette), Width: s.width}))
	if source.Command == "" {
		s.indented(b, cleanLines([]byte(source.Err.Error())), maxError)
	} else {
		fmt.Fprintf(b, "  command:   %s\n", s.rows(diag.Redact(oneLine(source.Command))))
		fmt.Fprintf(b, "  exit code: %s\n", exitCode(source))
		if source.ExitCode < 0 {
			s.indented(b, cleanLines([]byte(source.Err.Error())), maxError)
		}
	}
	log := cleanLines(source.Log)
	if len(log) == 0 {
		log = s.tailOf(o)
	}
	s.log(b, log)
}

func exitCode(e *exec.SourceError) string {
	if e.ExitCode < 0 {
		return "none, it was ended by something else"
	}
	return fmt.Sprint(e.ExitCode)
}

// tailOf returns the end of the log of the step that failed.
func (s *summary) tailOf(o exec.Outcome) []string {
	if step := s.m.target(o.Node.Name()).failing(); step != nil {
		return step.tail
	}
	return nil
}

func (s *summary) log(b *strings.Builder, lines []string) {
	if len(lines) == 0 {
		return
	}
	b.WriteString("  the end of its log:\n")
	for _, l := range lines[max(0, len(lines)-maxLog):] {
		b.WriteString(strings.TrimRight("    "+s.faint("|")+" "+s.rows(l), " ") + "\n")
	}
}

// mostRows is how many rows of a terminal one line may take up: a line of a log
// can be longer than all screens together.
const mostRows = 4

// rows cuts a line to what a terminal has room for; elsewhere it stays whole.
func (s *summary) rows(line string) string { return fit(line, mostRows*s.width) }

// indented writes the first lines of a text.
func (s *summary) indented(b *strings.Builder, lines []string, most int) {
	for i, l := range lines {
		if i == most {
			fmt.Fprintf(b, "  … and %d more lines\n", len(lines)-most)
			return
		}
		b.WriteString(strings.TrimRight("  "+s.rows(diag.Redact(l)), " ") + "\n")
	}
}

// causes writes a line for each failure, and one for a cancellation that none
// of them caused: the last thing on the screen says what to look at.
func (s *summary) causes(b *strings.Builder) {
	failed, more := s.failed()
	for _, o := range failed {
		fmt.Fprintf(b, "%s %s: %s\n", s.red("error:"), o.Node.Name(), cause(o))
	}
	if more > 0 {
		fmt.Fprintf(b, "%s %d more targets failed\n", s.red("error:"), more)
	}
	for _, o := range s.outcomes {
		var stop *exec.StopError
		if o.Status == exec.Cancelled && !errors.As(o.Err, &stop) {
			fmt.Fprintf(b, "%s %s\n", s.yellow("cancelled:"), cause(o))
			return
		}
	}
}

// cause tells in one line why a target was not built.
func cause(o exec.Outcome) string {
	var source *exec.SourceError
	switch {
	case o.Err == nil:
		return o.Status.String()
	case !errors.As(o.Err, &source):
		text, _, _ := strings.Cut(o.Err.Error(), "\n")
		return diag.Redact(oneLine(text))
	case source.Command != "" && source.ExitCode >= 0:
		return fmt.Sprintf("%s: %s: exit code %d", place(source), brief(source.Command), source.ExitCode)
	}
	return diag.Redact(fmt.Sprintf("%s: %s", place(source), oneLine(source.Err.Error())))
}

// brief returns the beginning of a command, for a line that says more.
func brief(command string) string {
	return fit(diag.Redact(strings.Join(strings.Fields(oneLine(command)), " ")), 60)
}

// place returns "file:line".
func place(e *exec.SourceError) string {
	if e.StartLine < 1 {
		return oneLine(e.File)
	}
	return fmt.Sprintf("%s:%d", oneLine(e.File), e.StartLine)
}
