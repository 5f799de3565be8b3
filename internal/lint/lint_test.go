package lint

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
	"github.com/kilnbuild/kiln/internal/diag"
)

// subject makes a Subject of files in the txtar format; those that end in
// .hcl, .json or .yaml are the definition.
func subject(t testing.TB, archive string) *Subject {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	s := &Subject{Root: dir, Dir: dir}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		if slices.Contains([]string{".hcl", ".json", ".yaml"}, filepath.Ext(f.Name)) {
			s.Files = append(s.Files, config.File{Name: f.Name, Data: f.Data})
		}
	}
	s.finish(t)
	return s
}

// finish loads and examines what the files say.
func (s *Subject) finish(t testing.TB) {
	t.Helper()
	var diags hcl.Diagnostics
	if s.Config, s.Trace, diags = config.LoadTrace(s.Files, config.Inputs{}); diags.HasErrors() {
		t.Fatal(diags)
	}
	if s.Graph, diags = graph.New(s.Config); diags.HasErrors() {
		t.Fatal(diags)
	}
	var err error
	if s.Examined, err = buildkit.Examine(context.Background(), s.Graph, buildkit.ForeseeOptions{Dir: s.Dir}); err != nil {
		t.Fatal(err)
	}
}

// shown writes problems, each as "file:line:column severity rule: detail".
func shown(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s %s %s: %s\n", diag.Place(*p.Subject), severityOf(p), p.Rule, p.Detail)
	}
	return b.String()
}

// severityOf is the severity of a problem, marked if a build would refuse it.
func severityOf(p Problem) string {
	if p.WouldFail {
		return diag.SeverityWord(p.Severity) + "!"
	}
	return diag.SeverityWord(p.Severity)
}

// Each rule finds its mistake in the example of its page, and nothing else is
// found there; in the example without the mistake nothing is.
func TestExamples(t *testing.T) {
	for _, r := range Rules() {
		t.Run(r.Name, func(t *testing.T) {
			bad := Run(subject(t, r.Bad), nil, nil)
			if len(bad) == 0 || slices.ContainsFunc(bad, func(p Problem) bool { return p.Rule != r.Name }) {
				t.Errorf("the bad example gives:\n%s", shown(bad))
			}
			for _, p := range bad {
				if p.Severity != r.Severity || p.Subject.Start.Line == 0 || !strings.HasSuffix(p.Detail, ".") && !strings.HasSuffix(p.Detail, "?") {
					t.Errorf("got %s", shown([]Problem{p}))
				}
			}
			if off := Run(subject(t, r.Bad), nil, []string{r.Name}); len(off) > 0 {
				t.Errorf("turned off, it gives:\n%s", shown(off))
			}
			if good := Run(subject(t, r.Good), nil, nil); len(good) > 0 {
				t.Errorf("the good example gives:\n%s", shown(good))
			}
		})
	}
}

func TestRules(t *testing.T) {
	for _, tt := range []struct{ name, files, want string }{
		{"what counts as used", `-- build.hcl --
variable "A" { default = "a" }
variable "B" { default = "${A}" }
variable "C" {
  default = "c"
  validation { condition = C != "" && B != "" }
}
variable "D" { default = "d" }
free = 1
bound = D
function "f" {
  params = [x]
  result = "${x}${bound}"
}
target "default" {
  matrix = { v = [f(1)] }
  name = sanitize("x${v}")
}
-- Dockerfile --
FROM scratch
`, `build.hcl:3:1 warning unused-variable: Nothing refers to variable "C"
build.hcl:8:1 warning unused-variable: Nothing refers to attribute "free"`},
		{"groups, links, templates and references reach targets", `-- build.hcl --
group "all" { targets = ["a", "inner"] }
group "inner" { targets = ["v"] }
target "a" {
  contexts = { b = "target:b" }
  depends-on = ["c"]
}
target "b" {}
target "c" {
  inherits = ["template"]
  args = { X = target.referred.tags[0] }
}
target "template" {}
target "referred" { tags = ["x:1"] }
target "_hidden" {}
target "v" { variants = ["one", "two"] }
target "w" { variants = ["one", "two"] }
-- Dockerfile --
FROM scratch
ARG X
`, `build.hcl:16:1 note unreached-target: No group holds target "w"`},
		{"keys of maps are shadowed too", `-- build.hcl --
target "a" { args = { X = "1", Y = "1" } }
target "a" { args = { X = "2" } }
-- Dockerfile --
FROM scratch
ARG X
ARG Y
`, `build.hcl:1:27 warning shadowed-attribute: "X" in args of target "a" is never built: target "a" at build.hcl:2 always`},
		{"a later file may shadow", `-- build.hcl --
target "a" { tags = ["a:1"] }
group "default" { targets = ["a"] }
-- override.hcl --
target "a" { tags = ["a:2"] }
group "default" { targets = ["a"] }
-- Dockerfile --
FROM scratch
`, ""},
		{"tags of targets that are never built together, and of what is no image", `-- build.hcl --
group "one" { targets = ["a"] }
group "two" { targets = ["b", "c"] }
target "a" { tags = ["x:1"] }
target "b" { tags = ["x:1"] }
target "c" {
  tags = ["x:1"]
  output = ["out"]
}
-- Dockerfile --
FROM scratch
`, ""},
		{"a tag that all instances of a matrix write", `-- build.hcl --
target "a" {
  name = "a-${v}"
  matrix = { v = ["1", "2"] }
  tags = ["x:1"]
}
-- Dockerfile --
FROM scratch
`, `build.hcl:4:3 warning duplicate-tag: Targets a-1 and a-2 both write x:1, and group "a" builds them together`},
		{"an argument that one of several targets takes", `-- build.hcl --
target "_common" { args = { A = "1", B = "2", HTTP_PROXY = "x", BUILDKIT_INLINE_CACHE = "1" } }
target "x" { inherits = ["_common"] }
target "y" {
  inherits = ["_common"]
  dockerfile = "other"
  args = { C = "" }
}
-- Dockerfile --
FROM scratch
ARG A
-- other --
FROM scratch
ARG CC
`, `build.hcl:1:42 warning unused-argument: No ARG in Dockerfile takes the build argument B of x and y.
build.hcl:6:16 warning unused-argument: No ARG in other takes the build argument C of y. Did you mean CC?`},
		{"arguments that are missing", `-- build.hcl --
target "x" { target = "one" }
target "y" { target = "two" }
target "z" {
  target = "two"
  args = { BASE = "b", DIR = "d" }
}
-- Dockerfile --
ARG BASE
ARG MIRROR
FROM scratch AS one
FROM ${MIRROR}${BASE} AS two
ARG DIR
ARG TARGETARCH
COPY $DIR/$TARGETARCH /
RUN echo $DIR
`, `Dockerfile:4:1 warning InvalidDefaultArgInFrom: Default value for ARG ${MIRROR}${BASE} results in empty or invalid base image name.
Dockerfile:4:1 warning! missing-argument: FROM uses the argument BASE, which has no default here and no value in args of x and y.
Dockerfile:4:1 warning! missing-argument: FROM uses the argument MIRROR, which has no default here and no value in args of x and y.
Dockerfile:7:1 warning missing-argument: COPY uses the argument DIR, which has no default here and no value in args of y.`},
		{"Dockerfiles in build files", `-- build.hcl --
target "x" {
  dockerfile-inline = <<EOT
FROM scratch
ADD https://example.com/x /
EOT
}
target "y" { dockerfile-inline = "FROM scratch\nADD https://example.com/x /\n" }
-- Dockerfile --
FROM scratch
`, `build.hcl:4:1 warning add-without-checksum: ADD fetches https://example.com/x
build.hcl:7:14 warning add-without-checksum: ADD fetches https://example.com/x, and nothing says what is to be there. Add --checksum=sha256:… with the digest of what it is to be. This is line 2 of dockerfile-inline.`},
		{"a Dockerfile that cannot be built, and BuildKit's checks", `-- build.hcl --
target "x" {}
target "y" { dockerfile = "bad" }
target "z" { no-cache-filter = ["a", "c"] }
target "w" { target = "b" }
-- Dockerfile --
FROM scratch AS A
MAINTAINER me
-- bad --
FROM scratch
BROKEN
`, `build.hcl:3:14 warning unknown-stage: no-cache-filter of target "z" names the stage "c", but Dockerfile has a.
build.hcl:4:14 warning! unknown-stage: target of target "w" names the stage "b", but Dockerfile has a.
Dockerfile:1:1 warning StageNameCasing: Stage name 'A' should be lowercase.
Dockerfile:2:1 warning MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label.
bad:2:1 error! dockerfile-error: Dockerfile parse error on line 2: unknown instruction: BROKEN.`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Split(strings.TrimSpace(shown(Run(subject(t, tt.files), nil, nil))), "\n")
			want := strings.Split(tt.want, "\n")
			if len(got) != len(want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("got\n%s\nwant\n%s", got[i], want[i])
				}
			}
		})
	}
}

func TestIgnore(t *testing.T) {
	s := subject(t, `-- build.hcl --
# kiln:disable mutable-tag
variable "A" {} # kiln:ignore unused-variable
# kiln:ignore unused-variable -- read by
# the release script
variable "B" {
  description = "b"
}
variable "C" {} // kiln:ignore redeclared
variable "D" {} /* kiln:ignore unused-variable */

# kiln:ignore unused-argument, shadowed-attribute
target "x" {
  args = {
    X = "1"
  }
  tags = ["r/x:latest"]
}
target "y" {
  args = {
    # kiln:ignore unused-argument
    X = "1"
    Y = "1"
  }
}
# kiln:ignore
# kiln:ignore-file unused-argumnt
-- other.hcl --
# kiln:ignore-file unused-variable
variable "E" {}
-- Dockerfile --
# kiln:ignore-file MaintainerDeprecated
# kiln:disable StageNameCasing
FROM scratch AS A
MAINTAINER me
# kiln:ignore add-without-checksum

ADD https://example.com/x /
ADD https://example.com/y /
`)
	want := `build.hcl:8:1 warning unused-variable: Nothing refers to variable "C", so that its value changes nothing. Use it, or remove it.
build.hcl:22:9 warning unused-argument: No ARG in Dockerfile takes the build argument Y of y.
build.hcl:25:1 warning unknown-rule: This comment names no rule. Write kiln:ignore and the names of rules; ` + "`kiln check --rules`" + ` lists them.
build.hcl:26:1 warning unknown-rule: There is no rule "unused-argumnt". Did you mean unused-argument?
Dockerfile:2:1 warning unknown-rule: kiln:disable turns a rule off for all files and stands in a build file. Here it is kiln:ignore-file.
Dockerfile:3:1 warning StageNameCasing: Stage name 'A' should be lowercase.
Dockerfile:8:1 warning add-without-checksum: ADD fetches https://example.com/y, and nothing says what is to be there. Add --checksum=sha256:… with the digest of what it is to be.
`
	if diff := cmp.Diff(want, shown(Run(s, nil, nil))); diff != "" {
		t.Error(diff)
	}
}

// What a build refuses has a name that it can be turned off by.
func TestRefusedHaveNames(t *testing.T) {
	summaries := regexp.MustCompile(`(?:wrong\("[a-z-]+", |Summary: +)"([A-Z][^"]+)"`)
	found := 0
	for _, file := range []string{"lower.go", "lower_exports.go", "lower_steps.go", "bases.go"} {
		src, err := os.ReadFile(filepath.Join("..", "..", "exec", "buildkit", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range summaries.FindAllSubmatch(src, -1) {
			if found++; !slices.Contains(Names(), Name(string(m[1]))) {
				t.Errorf("%s: %q cannot be turned off", file, m[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d were found", found)
	}
}

// The names are what the pages and comments use.
func TestNames(t *testing.T) {
	rs := Rules()
	if !slices.IsSortedFunc(rs, func(a, b *Rule) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the table is not in order")
	}
	if got := words("StageNameCasing") + ", " + words("JSONArgsRecommended") + ", " + words("SecretsUsedInArgOrEnv"); got != "Stage name casing, JSON args recommended, Secrets used in arg or env" {
		t.Error(got)
	}
	if got := Name("Unknown attribute"); got != "unknown-attribute" || Spoken(got) != "Unknown attribute" {
		t.Error(got)
	}
}
