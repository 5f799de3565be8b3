package lint

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/internal/diag"
)

// A Report is what a check found, for output.
type Report struct {
	Problems []Problem
	Version  string // of kiln
	Dir      string // what the names of files are relative to, absolute
	Root     string // what they are shown relative to by SARIF and GitHub; "" is Dir
}

// relative is the name of a file from the root, with slashes; as it is if it
// is not below the root.
func (r *Report) relative(name string) string {
	whole := name
	if !filepath.IsAbs(whole) {
		whole = filepath.Join(r.Dir, whole)
	}
	root := r.Root
	if root == "" {
		root = r.Dir
	}
	rel, err := filepath.Rel(root, whole)
	if err != nil || !filepath.IsLocal(rel) {
		rel = whole
	}
	return filepath.ToSlash(rel)
}

// The parts of SARIF 2.1.0 that are used (OASIS, Static Analysis Results
// Interchange Format, sections 3.13 and following).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		SemanticVersion string      `json:"version,omitempty"`
		InformationURI  string      `json:"informationUri"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
		HelpURI          string    `json:"helpUri,omitempty"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI  string `json:"uri"`
				Base string `json:"uriBaseId,omitempty"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndLine     int `json:"endLine"`
		EndColumn   int `json:"endColumn"`
	}
)

const home = "https://github.com/kilnbuild/kiln"

// SARIF writes a report in the format of that name, version 2.1.0.
func SARIF(r *Report) []byte {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "kiln", SemanticVersion: r.Version, InformationURI: home, Rules: []sarifRule{}}
	index := map[string]int{}
	for _, p := range r.Problems {
		i, ok := index[p.Rule]
		if !ok {
			i = len(index)
			index[p.Rule] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(p))
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: p.Rule, RuleIndex: i, Level: diag.SeverityWord(p.Severity),
			Message: sarifText{p.Summary + ": " + p.Detail}, Locations: r.locations(p),
		})
	}
	out, err := json.MarshalIndent(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers only
	}
	return append(out, '\n')
}

func sarifRuleOf(p Problem) sarifRule {
	out := sarifRule{ID: p.Rule, ShortDescription: sarifText{p.Summary}, HelpURI: p.Doc}
	if r := Find(p.Rule); r != nil {
		out.ShortDescription.Text = r.Title
		out.HelpURI = home + "/blob/main/" + p.Doc
	}
	return out
}

func (r *Report) locations(p Problem) []sarifLocation {
	at := p.at()
	if at.Start.Line == 0 { // a flag
		return nil
	}
	var l sarifLocation
	name := url.URL{Path: r.relative(at.Filename)} // a name may hold what has a meaning in an address
	if path.IsAbs(name.Path) {
		name.Scheme = "file"
	} else {
		l.Physical.Artifact.Base = "%SRCROOT%"
	}
	l.Physical.Artifact.URI = name.String()
	l.Physical.Region = &sarifRegion{at.Start.Line, max(at.Start.Column, 1), max(at.End.Line, at.Start.Line), max(at.End.Column, 1)}
	return []sarifLocation{l}
}

// GitHub writes a report as commands of a GitHub workflow, one a line, which
// become annotations of the files.
func GitHub(r *Report) []byte {
	var b strings.Builder
	for _, p := range r.Problems {
		b.WriteString(map[hcl.DiagnosticSeverity]string{hcl.DiagError: "::error ", hcl.DiagWarning: "::warning ", diag.Note: "::notice "}[p.Severity])
		if at := p.at(); at.Start.Line > 0 {
			b.WriteString("file=" + property(r.relative(at.Filename)))
			fmt.Fprintf(&b, ",line=%d", at.Start.Line)
			fmt.Fprintf(&b, ",endLine=%d", max(at.End.Line, at.Start.Line))
			if at.End.Line <= at.Start.Line { // columns of several lines are refused
				fmt.Fprintf(&b, ",col=%d", max(at.Start.Column, 1))
				fmt.Fprintf(&b, ",endColumn=%d", max(at.End.Column, 1))
			}
			b.WriteByte(',')
		}
		b.WriteString("title=" + property(p.Summary) + "::" + escaped(p.Detail+" ("+p.Rule+")") + "\n")
	}
	return []byte(b.String())
}

// escaped writes the message of a workflow command, property the value of one
// of its properties.
func escaped(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escaped(s))
}
