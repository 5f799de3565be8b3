package lint

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// Comments that turn rules off:
//
//	# kiln:ignore RULE, RULE -- why      what the line, or the block or attribute that begins there, is told of
//	# kiln:ignore-file RULE              what the file is told of
//	# kiln:disable RULE                  in a build file: everything
//
// The first stands at the end of a line, or in lines of its own above it.

func unknownRule() *Rule {
	return &Rule{
		Name: "unknown-rule", Severity: hcl.DiagWarning,
		Title: "a comment that turns off a rule which there is not",
		Why:   `It turns nothing off: the name is written wrong, or the rule has another name now.`,
		Bad: `-- build.hcl --
variable "VERSION" { default = "1.0" } # kiln:ignore unused-varible, unused-variable
target "default" {}
-- Dockerfile --
FROM scratch
`,
		Good: `-- build.hcl --
variable "VERSION" { default = "1.0" } # kiln:ignore unused-variable -- the release script reads it
target "default" {}
-- Dockerfile --
FROM scratch
`,
		check: func(*pass) {}, // found when the comments are read
	}
}

var directive = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`kiln:(ignore|ignore-file|disable)(?:[ \t]+(.*))?$`)
})

// Ignored is what comments say is not to be told.
type Ignored struct {
	files    []config.File
	all      map[string]bool            // rules that are off everywhere
	byFile   map[string]map[string]bool // rules by file
	spans    map[string][]span          // by file
	problems []Problem                  // wrong comments
}

// A span is some lines for which a rule is off.
type span struct {
	rule        string
	first, last int
}

// ignored reads the comments of all files.
func ignored(s *Subject, texts []*buildkit.DockerfileText) *Ignored {
	ig := &Ignored{files: s.Files, all: map[string]bool{}, byFile: map[string]map[string]bool{}, spans: map[string][]span{}}
	for _, f := range s.Files {
		if !bytes.Contains(f.Data, []byte("kiln:")) {
			continue
		}
		if format, diags := config.Syntax(f); format == "hcl" && !diags.HasErrors() {
			ig.native(f)
		} else if format == "compose" {
			ig.lines(f.Name, f.Data, true)
		}
	}
	for _, d := range texts {
		if bytes.Contains(d.Data, []byte("kiln:")) {
			ig.lines(d.Path, d.Data, false)
		}
	}
	return ig
}

// ReadIgnored reads the comments of build files that could not be loaded.
func ReadIgnored(files []config.File) *Ignored { return ignored(&Subject{Files: files}, nil) }

// Without returns the problems, sorted, that neither a comment nor off
// ignores. Errors that no rule has found cannot be ignored.
func (ig *Ignored) Without(all []Problem, off []string) []Problem {
	kept := slices.DeleteFunc(all, func(p Problem) bool {
		if p.Severity == hcl.DiagError && !slices.Contains(Names(), p.Rule) {
			return false
		}
		return slices.Contains(off, p.Rule) || ig.covers(p.Rule, p.at())
	})
	return sorted(ig.files, kept)
}

func (ig *Ignored) covers(rule string, at hcl.Range) bool {
	return ig.all[rule] || ig.byFile[at.Filename][rule] || slices.ContainsFunc(ig.spans[at.Filename], func(s span) bool {
		return s.rule == rule && s.first <= at.Start.Line && at.Start.Line <= s.last
	})
}

// native reads the comments of an HCL file.
func (ig *Ignored) native(f config.File) {
	tokens, _ := hclsyntax.LexConfig(f.Data, f.Name, hcl.InitialPos)
	file, diags := hclsyntax.ParseConfig(f.Data, f.Name, hcl.InitialPos)
	body, ok := file.Body.(*hclsyntax.Body)
	if diags.HasErrors() || !ok {
		return
	}
	ends := map[int]int{} // last line of what begins in a line
	blockEnds(body, ends)
	code := 0 // line of the last token that is no comment
	var waiting []comment
	for _, t := range tokens {
		line := t.Range.Start.Line
		switch t.Type {
		case hclsyntax.TokenComment:
			c, ok := ig.comment(f.Name, string(t.Bytes), t.Range, true)
			switch {
			case !ok:
			case code == line:
				ig.cover(f.Name, c, line, max(line, ends[line]))
			default:
				waiting = append(waiting, c)
			}
		case hclsyntax.TokenNewline:
		default:
			for _, c := range waiting {
				ig.cover(f.Name, c, line, max(line, ends[line]))
			}
			waiting, code = nil, line
		}
	}
}

// blockEnds notes where blocks and attributes end, by the line they begin in.
func blockEnds(body *hclsyntax.Body, ends map[int]int) {
	for _, a := range body.Attributes { // the greatest is kept
		ends[a.SrcRange.Start.Line] = max(ends[a.SrcRange.Start.Line], a.SrcRange.End.Line)
	}
	for _, b := range body.Blocks {
		first := b.TypeRange.Start.Line
		ends[first] = max(ends[first], b.CloseBraceRange.End.Line)
		blockEnds(b.Body, ends)
	}
}

// lines reads the comments of a file in which they begin with #, above a line
// or, in YAML, behind it.
func (ig *Ignored) lines(name string, data []byte, yaml bool) {
	var waiting []comment
	n := 0
	for text := range strings.Lines(string(data)) {
		n++
		text = strings.TrimSpace(text)
		at := hcl.Range{Filename: name, Start: hcl.Pos{Line: n, Column: 1}, End: hcl.Pos{Line: n, Column: len(text) + 1}}
		switch hash := strings.IndexByte(text, '#'); {
		case text == "":
		case hash == 0:
			if c, ok := ig.comment(name, text, at, yaml); ok {
				waiting = append(waiting, c)
			}
		default:
			if hash > 0 && yaml {
				if c, ok := ig.comment(name, text[hash:], at, true); ok {
					waiting = append(waiting, c)
				}
			}
			for _, c := range waiting {
				ig.cover(name, c, n, n)
			}
			waiting = nil
		}
	}
}

// A comment turns rules off for some lines.
type comment struct{ rules []string }

func (ig *Ignored) cover(file string, c comment, first, last int) {
	for _, r := range c.rules {
		ig.spans[file] = append(ig.spans[file], span{r, first, last})
	}
}

// comment reads a comment. It is not ok if it says nothing of the lines about
// it. Build says that the file is a build file.
func (ig *Ignored) comment(file, text string, at hcl.Range, build bool) (comment, bool) {
	text = strings.TrimSuffix(strings.TrimRight(text, " \t\r\n"), "*/")
	m := directive().FindStringSubmatch(strings.TrimRight(text, " \t"))
	if m == nil {
		return comment{}, false
	}
	end := at.Start
	end.Column += len([]rune(text))
	end.Byte += len(text)
	at.End = end
	list, _, _ := strings.Cut(m[2], "--")
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	known := Names()
	if len(names) == 0 {
		ig.wrong(at, "This comment names no rule. Write kiln:"+m[1]+" and the names of rules; `kiln check --rules` lists them.")
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			near := ""
			if c := config.Nearest(n, known); c != "" {
				near = fmt.Sprintf(" Did you mean %s?", c)
			}
			ig.wrong(at, fmt.Sprintf("There is no rule %q.%s", n, near))
		}
	}
	switch m[1] {
	case "disable":
		if !build {
			ig.wrong(at, "kiln:disable turns a rule off for all files and stands in a build file. Here it is kiln:ignore-file.")
			return comment{}, false
		}
		for _, n := range names {
			ig.all[n] = true
		}
		return comment{}, false
	case "ignore-file":
		if ig.byFile[file] == nil {
			ig.byFile[file] = map[string]bool{}
		}
		for _, n := range names {
			ig.byFile[file][n] = true
		}
		return comment{}, false
	}
	return comment{names}, true
}

func (ig *Ignored) wrong(at hcl.Range, detail string) {
	r := unknownRule()
	ig.problems = append(ig.problems, Problem{Rule: r.Name, Doc: Page(r.Name), Diagnostic: &hcl.Diagnostic{
		Severity: r.Severity, Summary: r.Summary(), Detail: detail, Subject: &at,
	}})
}
