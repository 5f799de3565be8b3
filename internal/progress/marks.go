package progress

import (
	"fmt"
	"strings"
	"time"
)

// A Service is a CI service whose logs have marks for programs.
type Service string

const (
	GitHub Service = "github" // workflow commands: docs.github.com, "Workflow commands for GitHub Actions"
	GitLab Service = "gitlab" // docs.gitlab.com, "CI/CD job logs", custom collapsible sections
)

// marks are the ways in which a service's log is structured. Lines of logs
// are somebody else's: none of them may count as a mark.
type marks interface {
	// begin returns what a fold begins with; open is one that is not to be
	// folded, where the service lets that be said.
	begin(title, id string, at time.Time, open bool) string
	end(id string, at time.Time) string
	// lines returns lines that are no marks, whatever is in them; inside is
	// in a fold.
	lines(lines []string, inside bool) string
	// notice returns a mark at a line of a file; "" where there are none.
	notice(n notice) string
}

// foldID names a fold, of letters, digits, dots, dashes and underscores: the
// n-th of the run, from 1.
func foldID(n int, target string) string {
	name := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, target)
	return fmt.Sprintf("kiln_%d_%s", n, name)
}

// A notice is something to be shown beside a line of a file.
type notice struct {
	level         string // "error" or "warning"
	file          string // as the service knows it; "" if it is in none
	line, endLine int    // from 1; 0 if unknown
	title, text   string
}

// marksOf returns the marks of a service. Token is a word that no log holds.
func marksOf(s Service, token string) marks {
	switch s {
	case GitHub:
		return githubMarks{token}
	case GitLab:
		return gitlabMarks{}
	}
	return noMarks{}
}

func joined(lines []string, before string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(before+l, " ") + "\n")
	}
	return b.String()
}

// noMarks are for logs without folds: a title, and lines below it.
type noMarks struct{}

func (noMarks) begin(title, _ string, _ time.Time, _ bool) string { return title + "\n" }
func (noMarks) end(string, time.Time) string                      { return "" }
func (noMarks) notice(notice) string                              { return "" }
func (noMarks) lines(lines []string, inside bool) string {
	if inside {
		return joined(lines, "  ")
	}
	return joined(lines, "")
}

// gitlabMarks are GitLab's sections. They begin with an escape sequence, of
// which logs are cleaned.
type gitlabMarks struct{}

func (gitlabMarks) begin(title, id string, at time.Time, open bool) string {
	folded := "[collapsed=true]"
	if open {
		folded = ""
	}
	return fmt.Sprintf("\x1b[0Ksection_start:%d:%s%s\r\x1b[0K%s\n", at.Unix(), id, folded, title)
}

func (gitlabMarks) end(id string, at time.Time) string {
	return fmt.Sprintf("\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", at.Unix(), id)
}

func (gitlabMarks) notice(notice) string                { return "" }
func (gitlabMarks) lines(lines []string, _ bool) string { return joined(lines, "") }

// githubMarks are GitHub's workflow commands. Lines that could be taken for
// one stand where commands are stopped until the token is said.
type githubMarks struct{ token string }

func (githubMarks) begin(title, _ string, _ time.Time, _ bool) string {
	return "::group::" + escaped(title, false) + "\n"
}
func (githubMarks) end(string, time.Time) string { return "::endgroup::\n" }

func (g githubMarks) lines(lines []string, _ bool) string {
	text := joined(lines, "")
	// "##[" is the older form of "::", and counts anywhere in a line.
	if !strings.Contains(text, "::") && !strings.Contains(text, "##[") {
		return text
	}
	return "::stop-commands::" + g.token + "\n" + text + "::" + g.token + "::\n"
}

func (githubMarks) notice(n notice) string {
	var at []string
	if n.file != "" {
		at = append(at, "file="+escaped(n.file, true))
		if n.line > 0 {
			at = append(at, fmt.Sprintf("line=%d,endLine=%d", n.line, max(n.line, n.endLine)))
		}
	}
	at = append(at, "title="+escaped(n.title, true))
	return fmt.Sprintf("::%s %s::%s\n", n.level, strings.Join(at, ","), escaped(n.text, false))
}

// escaped writes text into a workflow command, as its message or as the value
// of a property, as GitHub's own toolkit does.
func escaped(s string, property bool) string {
	s = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
	if property {
		s = strings.NewReplacer(":", "%3A", ",", "%2C").Replace(s)
	}
	return s
}
