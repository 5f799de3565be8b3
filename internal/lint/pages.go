package lint

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/diag"
)

// List is the table of all rules, for people.
func List() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 1, 8, 2, ' ', 0)
	fmt.Fprintln(w, "RULE\tSEVERITY\tFINDS")
	for _, r := range Rules() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, diag.SeverityWord(r.Severity), r.Title)
	}
	for _, name := range buildkit.Checks() {
		fmt.Fprintf(w, "%s\twarning\tBuildKit's check of Dockerfiles\n", name)
	}
	for _, name := range told {
		fmt.Fprintf(w, "%s\twarning\ttold by every command\n", name)
	}
	for _, name := range refused {
		fmt.Fprintf(w, "%s\twarning\twhat a build would refuse\n", name)
	}
	_ = w.Flush() // to a string
	return b.String()
}

// Elsewhere says of a name that is none of kiln's own rules what it is.
func Elsewhere(name string) string {
	switch {
	case slices.Contains(told, name):
		return name + " is a warning that every command tells, and explains where it is told."
	case slices.Contains(refused, name):
		return name + " is a warning of what a build would refuse, and says what to do about it; --strict=would-fail fails for it."
	}
	return name + " is one of BuildKit's checks of Dockerfiles: https://docs.docker.com/reference/build-checks/"
}

const generated = "<!-- Written from the table of rules: KILN_UPDATE=1 go test ./internal/lint -->\n"

// PageOf is the page about a rule, in Markdown.
func PageOf(r *Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\nFinds %s. Severity: %s.\n\n%s\n", r.Name, generated, r.Title, diag.SeverityWord(r.Severity), r.Why)
	fmt.Fprintf(&b, "\nIt finds something here:\n%s\nand nothing here:\n%s", example(r.Bad), example(r.Good))
	fmt.Fprintf(&b, "\nTo turn it off: `# kiln:ignore %s` at the end of the line, or above the line, block or attribute; `# kiln:ignore-file %s`\nfor a file; `--disable %s` or, in a build file, `# kiln:disable %s` for all.\n", r.Name, r.Name, r.Name, r.Name)
	return b.String()
}

// example writes files in Markdown.
func example(archive string) string {
	var b strings.Builder
	for _, f := range txtar.Parse([]byte(archive)).Files {
		lang := "hcl"
		if !strings.HasSuffix(f.Name, ".hcl") {
			lang = "Dockerfile"
		}
		if len(f.Data) == 0 || strings.HasSuffix(f.Name, "/file") || string(f.Data) == "FROM scratch\n" {
			continue // it is only there so that the example is whole
		}
		fmt.Fprintf(&b, "\n```%s\n# %s\n%s```\n", lang, f.Name, f.Data)
	}
	return b.String()
}

// Index is the page that lists the rules, in Markdown.
func Index() string {
	var b strings.Builder
	b.WriteString("# The rules of `kiln check`\n\n" + generated + "\n| rule | severity | finds |\n|---|---|---|\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s |\n", r.Name, r.Name, diag.SeverityWord(r.Severity), r.Title)
	}
	b.WriteString("\nBuildKit's own checks run on every Dockerfile, without a builder, under their names, with the severity warning:\n")
	for i, name := range buildkit.Checks() {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "`%s`", name)
	}
	b.WriteString(`.
They are explained at <https://docs.docker.com/reference/build-checks/>. As base images are not looked at, UndefinedVar
tells only of stages that begin with scratch.

Warnings that every command tells can be turned off in a check as well: `)
	b.WriteString("`" + strings.Join(told, "`, `") + "`.\n\nWhat `--print` takes and a build would refuse has the severity warning, or error where a Dockerfile cannot be read, under these names:\n`")
	b.WriteString(strings.Join(refused, "`,\n`") + "`.\n")
	b.WriteString(`
## Severities

An error is what ` + "`kiln build --print`" + ` refuses, whatever it is asked for (exit code 2), or a Dockerfile that is there and cannot be read (exit code 1). Everything else is a warning, also
where a build would fail: a variable may have its value, and a file may be there, where it is built. A note is worth a look, and most likely meant
so; it fails nothing.

In CI, ` + "`--strict=would-fail`" + ` fails the check (exit code 1) for warnings of what a build would refuse: a Dockerfile that is not there or
has a mistake, a stage that it lacks, a tag that is none. ` + "`--strict`" + ` fails it for every warning.

## Turning rules off

` + "```hcl" + `
variable "X" {} # kiln:ignore unused-variable -- the release script reads it

# kiln:ignore unused-argument, shadowed-attribute
target "app" {
  args = { DEBUG = "1" }
}
` + "```" + `

A comment at the end of a line is for the line, or for the block or attribute that begins in it; in lines of its own it is for
what follows. Names stand with commas or blanks between them; what follows ` + "`--`" + ` says why. ` + "`# kiln:ignore-file RULE`" + ` is for all that
the file is told of, ` + "`# kiln:disable RULE`" + ` in a build file for everything, as ` + "`--disable RULE`" + ` on the command line. JSON has no
comments: there it is ` + "`--disable`" + ` alone. In a Dockerfile ` + "`# kiln:ignore RULE`" + ` stands above the instruction; BuildKit's ` + "`# check=skip=RULE`" + ` works too,
for its checks.

## Formats

` + "`--format=text`" + ` is for people, on standard error. On standard output are ` + "`json`" + ` ([json.md](../json.md)), ` + "`sarif`" + ` (2.1.0; paths are
relative to the repository's root), and ` + "`github`" + `: commands of a GitHub workflow, which become annotations.
`)
	return b.String()
}

// JSON writes a report for programs. Fields are only ever added. Sources are
// the files that problems are in, by name, for snippets.
func JSON(r *Report, sources map[string][]byte) []byte {
	type position struct {
		Line   int `json:"line"`   // from 1
		Column int `json:"column"` // in characters, from 1
	}
	type problem struct {
		Rule     string    `json:"rule"`
		Severity string    `json:"severity"`            // error, warning, note
		Fails    bool      `json:"wouldFail,omitempty"` // a build would refuse it
		Summary  string    `json:"summary"`
		Detail   string    `json:"detail"`
		Doc      string    `json:"doc,omitempty"`  // a path in kiln's repository, or an address
		File     string    `json:"file,omitempty"` // or what else is to blame, such as a flag
		Start    *position `json:"start,omitempty"`
		End      *position `json:"end,omitempty"`
		Snippet  string    `json:"snippet,omitempty"` // the first line
	}
	doc := struct {
		Version  int       `json:"version"`
		Problems []problem `json:"problems"`
	}{1, []problem{}}
	for _, p := range r.Problems {
		at := p.at()
		out := problem{Rule: p.Rule, Severity: diag.SeverityWord(p.Severity), Fails: p.WouldFail, Summary: p.Summary, Detail: p.Detail, Doc: p.Doc, File: at.Filename}
		if at.Start.Line > 0 {
			out.Start, out.End = &position{at.Start.Line, at.Start.Column}, &position{at.End.Line, at.End.Column}
			if lines := strings.Split(string(sources[at.Filename]), "\n"); at.Start.Line <= len(lines) {
				out.Snippet = diag.Redact(strings.TrimRight(lines[at.Start.Line-1], "\r"))
			}
		}
		doc.Problems = append(doc.Problems, out)
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // strings and numbers only
	}
	return append(b, '\n')
}
