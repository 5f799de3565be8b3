package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/kilnbuild/kiln/internal/runs"
)

// JUnit's XML, as CI services read it: a suite for the run, a case for each
// target. There is no standard; the elements and attributes are those that
// the schema of Jenkins' xUnit plugin has.

type junitSuites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Time     string   `xml:"time,attr"`
	Suites   []junitSuite
}

type junitSuite struct {
	XMLName    xml.Name        `xml:"testsuite"`
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	ID         string          `xml:"id,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	XMLName xml.Name      `xml:"testcase"`
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the run as JUnit's XML. What was skipped or cancelled
// counts as skipped, with the reason.
func (r *Report) WriteJUnit(w io.Writer) error {
	run, s := r.Run, r.Summary
	name := path.Base(strings.ReplaceAll(run.Definition, `\`, "/"))
	suite := junitSuite{
		Name: name, Tests: s.Targets, Failures: s.Failed, Skipped: s.Skipped + s.Cancelled, Time: decimal(s.Seconds),
		Timestamp: run.Started.Format("2006-01-02T15:04:05"), ID: run.ID,
	}
	for _, p := range []junitProperty{
		{"command", command(run.Args)}, {"kiln", run.Kiln}, {"builder", strings.Join(run.Builders, ", ")}, {"commit", run.Commit},
		{"steps", fmt.Sprint(s.Steps)}, {"stepsCached", fmt.Sprint(s.StepsCached)},
	} {
		if p.Value != "" {
			suite.Properties = append(suite.Properties, p)
		}
	}
	for _, t := range run.Targets {
		suite.Cases = append(suite.Cases, junitOf(t, name))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	err := e.Encode(junitSuites{
		Name: "kiln build", Tests: suite.Tests, Failures: suite.Failures, Skipped: suite.Skipped, Time: suite.Time, Suites: []junitSuite{suite},
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n")
	return err
}

func junitOf(t *runs.Target, class string) junitCase {
	c := junitCase{Name: t.Name, Class: class, Time: decimal(seconds(t.Took()))}
	f := t.Failure
	switch {
	case f == nil:
		c.Out = outputOf(t)
	case t.Status == "failed":
		first, _, _ := strings.Cut(f.Text, "\n")
		text := f.Text
		if f.Command != "" {
			text += "\n\ncommand: " + f.Command
		}
		if f.ExitCode != nil {
			text += fmt.Sprintf("\nexit code: %d", *f.ExitCode)
		}
		if f.Log != "" {
			text += "\n\n" + f.Log
		}
		c.File, c.Line = f.File, f.Line
		c.Failure = &junitMessage{Message: first, Type: "build", Text: text}
	default:
		c.Skipped = &junitMessage{Message: t.Status + ": " + f.Text}
	}
	return c
}

// outputOf says in lines what a target that was built left behind.
func outputOf(t *runs.Target) string {
	var lines []string
	if t.Cached {
		lines = append(lines, "cached")
	}
	if t.Digest != "" {
		lines = append(lines, t.Digest)
	}
	lines = append(lines, t.Refs...)
	for _, w := range t.Warnings {
		lines = append(lines, "warning: "+w)
	}
	return strings.Join(lines, "\n")
}

// decimal is a number of seconds as JUnit has it.
func decimal(s float64) string { return fmt.Sprintf("%.3f", s) }
