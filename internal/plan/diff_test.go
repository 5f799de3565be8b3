package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	plan := func(hcl string, files ...string) *Plan {
		tree := map[string]string{"build.hcl": hcl, "Dockerfile": "FROM scratch\n"}
		for i := 0; i+1 < len(files); i += 2 {
			tree[files[i]] = files[i+1]
		}
		return makePlan(t, write(t, tree), nil, "*").Plan
	}
	const head = "old → new: "
	for _, tt := range []struct {
		name     string
		old, new *Plan
		want     string
	}{
		{"nothing", plan(`target "a" {}`), plan("\n\n" + `target "a" {}`), head + "the plans are the same\n"},
		{"nothing but files that are sent", plan(`target "a" {}`, "x", "1"), plan(`target "a" {}`, "x", "2"), head + "the plans are the same\n"},
		{"targets", plan(`target "a" {}` + "\n" + `target "b" {}`), plan(`target "c" {}` + "\n" + `target "b" {}`), head + "1 added, 1 removed, 0 changed, 1 the same\n+ c\n- a\n"},
		{"lists", plan(`target "a" { tags = ["x:1", "y:1"] }`), plan(`target "a" { tags = ["x:2", "y:1"] }`),
			head + "0 added, 0 removed, 1 changed, 0 the same\n~ a\n    tags        - docker.io/library/x:1\n                + docker.io/library/x:2\n"},
		{"order", plan(`target "a" { tags = ["x:1", "y:1"] }`), plan(`target "a" { tags = ["y:1", "x:1"] }`),
			head + "0 added, 0 removed, 1 changed, 0 the same\n~ a\n    tags        docker.io/library/x:1, docker.io/library/y:1 → docker.io/library/y:1, docker.io/library/x:1\n"},
		{"values", plan(`target "a" { args = { GO = "1.26", OLD = "" } }`), plan(`target "a" { args = { GO = "1.27", NEW = "n" } }`),
			head + "0 added, 0 removed, 1 changed, 0 the same\n~ a\n    args.GO     1.26 → 1.27\n    args.NEW    (not set) → n\n    args.OLD    \"\" → (not set)\n"},
		{"secrets", plan(`target "a" { args = { A_TOKEN = "first-secret" } }`), plan(`target "a" { args = { A_TOKEN = "second-secret" } }`),
			head + "0 added, 0 removed, 1 changed, 0 the same\n~ a\n    args.A_TOKEN\n                (hidden) → (hidden)\n"},
		{"contexts", plan(`target "a" { contexts = { x = "docker-image://alpine" } }`), plan("target \"a\" {\n context = \"d\"\n contexts = { x = \"d\" }\n}", "d/Dockerfile", "FROM scratch\n"),
			head + "0 added, 0 removed, 1 changed, 0 the same\n~ a\n    context     . → d\n    contexts.x  image alpine → d\n    dockerfile.path\n                Dockerfile → d/Dockerfile\n"},
		{"outputs", plan(`target "a" { output = ["type=local,dest=o"] }`), plan(`target "a" { output = ["type=tar,dest=o"] }`),
			head + "0 added, 0 removed, 1 changed, 0 the same\n~ a\n    outputs     - type=local,dest=o\n                + type=tar,dest=o\n"},
		{"needs", plan("target \"a\" {}\ntarget \"b\" {}"), plan("target \"a\" {}\ntarget \"b\" { contexts = { a = \"target:a\" } }"),
			head + "0 added, 0 removed, 2 changed, 0 the same\n~ a\n    needers     + b\n~ b\n    contexts.a  (not set) → target a\n    needs       + a\n    wave        1 → 2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Diff(tt.old, tt.new)
			c.Old, c.New = "old", "new"
			got := c.Text(TextOptions{})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if c.Any() == strings.Contains(got, "the plans are the same") {
				t.Errorf("Any is %v", c.Any())
			}
			if strings.Contains(string(encoded(t, c)), "-secret") {
				t.Error("a secret is told")
			}
		})
	}
	if got := Diff(plan(`target "a" { tags = ["x"] }`), plan(`target "a" { dockerfile-inline = "FROM scratch" }`)).Changed; len(got) != 1 || len(got[0].Fields) < 3 {
		t.Errorf("%+v", got)
	}
}
