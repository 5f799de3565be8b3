package lint

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/kilnbuild/kiln/internal/diag"
)

func sample() *Report {
	problem := func(severity hcl.DiagnosticSeverity, rule, file string, line int) Problem {
		return Problem{Rule: rule, Doc: Page(rule), Diagnostic: &hcl.Diagnostic{Severity: severity, Summary: Spoken(rule), Detail: "100%, sure:\nyes.",
			Subject: &hcl.Range{Filename: file, Start: hcl.Pos{Line: line, Column: 3}, End: hcl.Pos{Line: line, Column: 9}}}}
	}
	unknown := problem(hcl.DiagError, "unknown-target", "--set x=y", 0)
	unknown.Doc = ""
	long := problem(hcl.DiagWarning, "unused-variable", "sub/a:b,c.hcl", 2)
	long.Subject.End.Line = 5
	return &Report{Version: "1.0", Dir: filepath.FromSlash("/repo/here"), Root: filepath.FromSlash("/repo"), Problems: []Problem{
		long, problem(diag.Note, "mutable-tag", "build.hcl", 7), unknown,
		problem(hcl.DiagWarning, "unused-variable", "/elsewhere/build.hcl", 1),
		problem(hcl.DiagWarning, "unused-variable", "..odd 100% #1/ä.hcl", 1),
		{Rule: "no-place", Diagnostic: &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "No place"}},
	}}
}

// What is written in SARIF is valid by its schema, and knows no field that
// this does not have.
func TestSARIFIsValid(t *testing.T) {
	for _, r := range []*Report{{}, sample(), {Problems: Run(subject(t, addWithoutChecksum().Bad), nil, nil)}} {
		out := SARIF(r)
		dec := json.NewDecoder(bytes.NewReader(out))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&sarif.Report{}); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		report, err := sarif.FromBytes(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range report.Runs { // what the library writes for what is absent is not valid
			run.Language, run.Tool.Driver.Language, run.NewlineSequences = "en", "en", []string{"\n"}
		}
		if err := report.Validate(); err != nil {
			t.Errorf("%v in %s", err, out)
		}
		if len(report.Runs) != 1 || len(report.Runs[0].Results) != len(r.Problems) {
			t.Errorf("%d problems gave %s", len(r.Problems), out)
		}
	}
	out := string(SARIF(sample()))
	for _, want := range []string{`"uri": "here/build.hcl"`, `"uri": "file:///elsewhere/build.hcl"`, `"uri": "here/..odd%20100%25%20%231/%C3%A4.hcl"`, `"uri": "here/sub/a:b,c.hcl"`, `"level": "note"`, `"ruleIndex": 0`, `"text": "a variable, or an attribute outside all blocks`} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %s in %s", want, out)
		}
	}
}

func TestGitHub(t *testing.T) {
	want := `::warning file=here/sub/a%3Ab%2Cc.hcl,line=2,endLine=5,title=Unused variable::100%25, sure:%0Ayes. (unused-variable)
::notice file=here/build.hcl,line=7,endLine=7,col=3,endColumn=9,title=Mutable tag::100%25, sure:%0Ayes. (mutable-tag)
::error title=Unknown target::100%25, sure:%0Ayes. (unknown-target)
::warning file=/elsewhere/build.hcl,line=1,endLine=1,col=3,endColumn=9,title=Unused variable::100%25, sure:%0Ayes. (unused-variable)
::warning file=here/..odd 100%25 #1/ä.hcl,line=1,endLine=1,col=3,endColumn=9,title=Unused variable::100%25, sure:%0Ayes. (unused-variable)
::error title=No place:: (no-place)
`
	if diff := cmp.Diff(want, string(GitHub(sample()))); diff != "" {
		t.Error(diff)
	}
}
