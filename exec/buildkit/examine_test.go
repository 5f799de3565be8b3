package buildkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/graph"
)

// examine examines all targets of a definition among files.
func examine(t *testing.T, hcl string, files map[string]string) []*Examination {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: []byte(hcl)}}, config.Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	g, diags := graph.New(cfg)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	out, err := Examine(context.Background(), g, ForeseeOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExamineFindings(t *testing.T) {
	got := examine(t, `
target "a" {}
target "b" { target = "gone" }
target "c" { dockerfile-inline = "FROM scratch\nCOPY $NOBODY /\n" }
target "d" { dockerfile = "wrong" }
target "e" { dockerfile = "missing" }
target "f" { dockerfile = "foreign" }
target "g" { contexts = { base = "target:a" } }
target "h" { context = "https://example.com/x.git" }
target "i" {
  contexts = { base = "oci-layout://nowhere" }
  dockerfile = "layout"
  cache-to = ["type=gha", "type=local,dest=nowhere"]
  cache-from = ["type=gha", "type=local,src=nowhere"]
  secret = ["id=x,env=HOME"]
}
`, map[string]string{
		"Dockerfile": "FROM alpine:3 AS Base\nENV HOME_OF=$HOME_OF_IMAGE\nCOPY secret.txt /\nADD https://example.com/x /\nCMD run it\nmaintainer me\n",
		"layout":     "FROM base\nMAINTAINER me\n",
		"wrong":      "FROM scratch\nNONSENSE\n", ".dockerignore": "secret.txt\n",
		"foreign": "# syntax=example.com/other\nSOMETHING ELSE\n",
	})
	var b strings.Builder
	for _, e := range got {
		fmt.Fprintf(&b, "%s: read is %v\n", e.Target, e.Text != nil)
		for _, f := range e.Findings {
			fmt.Fprintf(&b, "  %s %s:%d-%d %s\n", f.Rule, f.Range.Filename, f.Range.Start.Line, f.Range.End.Line, f.Detail)
		}
	}
	all := `  StageNameCasing Dockerfile:1-1 Stage name 'Base' should be lowercase
  CopyIgnoredFile Dockerfile:3-3 Attempting to Copy file "secret.txt" that is excluded by .dockerignore
  JSONArgsRecommended Dockerfile:5-5 JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
  ConsistentInstructionCasing Dockerfile:6-6 Command 'maintainer' should match the case of the command majority (uppercase)
  MaintainerDeprecated Dockerfile:6-6 Maintainer instruction is deprecated in favor of using label
`
	want := "a: read is true\n" + all + `b: read is true
   Dockerfile:1-1 target stage "gone" could not be found
  StageNameCasing Dockerfile:1-1 Stage name 'Base' should be lowercase
  ConsistentInstructionCasing Dockerfile:6-6 Command 'maintainer' should match the case of the command majority (uppercase)
  MaintainerDeprecated Dockerfile:6-6 Maintainer instruction is deprecated in favor of using label
c: read is true
  UndefinedVar :2-2 Usage of undefined variable '$NOBODY'
d: read is true
   wrong:2-2 dockerfile parse error on line 2: unknown instruction: NONSENSE
e: read is false
f: read is false
g: read is true
` + all + `h: read is false
i: read is true
  MaintainerDeprecated layout:2-2 Maintainer instruction is deprecated in favor of using label
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	if got[0].Text != got[1].Text || got[0].Text != got[6].Text {
		t.Error("one Dockerfile was read several times")
	}
	for _, e := range got {
		for _, f := range e.Findings {
			if f.Rule != "" && !strings.Contains(" "+strings.Join(Checks(), " ")+" ", " "+f.Rule+" ") {
				t.Errorf("%s is not among Checks", f.Rule)
			}
		}
	}
}

func TestReadDockerfile(t *testing.T) {
	d := readDockerfile("Dockerfile", []byte(`ARG BASE
ARG TAG=1
ARG KIND
FROM img:${KIND:-slim} AS first
ARG A
ARG B=b
COPY $A ${B} /
ENV C=$A

  FROM ${BASE}:${TAG} AS second
ARG TAG
ARG C
ARG D E
WORKDIR /$TAG/$D
USER \$D
COPY --from=first \
  ${E:?need} /x
RUN --mount=from=first,target=/y echo $D
ADD https://example.com/a https://example.com/b.git#0123456789012345678901234567890123456789 /
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.com/c /
ADD git@example.com:x/y.git ./local /
FROM first
WORKDIR $C
`))
	var b strings.Builder
	for i, s := range d.Stages {
		fmt.Fprintf(&b, "stage %s %d from %s needs %v, reached %v\n", s.Name, s.Range.Start.Line, s.From, s.Needs, d.Reached(i))
	}
	for _, n := range d.Needs {
		fmt.Fprintf(&b, "need %s %s in stage %d, lines %d-%d\n", n.Name, n.Instruction, n.Stage, n.Range.Start.Line, n.Range.End.Line)
	}
	for _, a := range d.Adds {
		fmt.Fprintf(&b, "add %s git %v pinned %v\n", a.URL, a.Git, a.Pinned)
	}
	want := `stage first 4 from img:${KIND:-slim} needs [], reached [0]
stage second 10 from ${BASE}:${TAG} needs [0 0], reached [0 1]
stage 2 22 from first needs [0], reached [0 2]
need A COPY in stage 0, lines 7-7
need BASE FROM in stage 1, lines 10-10
need D WORKDIR in stage 1, lines 14-14
need E COPY in stage 1, lines 16-17
add https://example.com/a git false pinned false
add https://example.com/b.git#0123456789012345678901234567890123456789 git true pinned true
add https://example.com/c git false pinned true
add git@example.com:x/y.git git true pinned false
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	if !d.Declares("D") || d.Declares("X") {
		t.Error("what is declared is wrong")
	}
	if r := d.Stages[1].Range; string(d.Data[r.Start.Byte:r.End.Byte]) != "FROM ${BASE}:${TAG} AS second" || r.Start.Column != 3 {
		t.Errorf("range %v", r)
	}
	if i, ok := d.Stage("SECOND"); !ok || i != 1 {
		t.Error("stage second is not found")
	}
	if bad := readDockerfile("x", nil); len(bad.Stages) != 0 || bad.lines(5, 9).Start.Line != 1 {
		t.Error("an empty Dockerfile has stages")
	}
}
