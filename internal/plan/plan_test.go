package plan

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
)

// write makes files below a new directory, which it returns.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// A made is a plan and what it was made of.
type made struct {
	*Plan
	g *graph.Graph
}

// makePlan plans the build.hcl of a directory.
func makePlan(t *testing.T, dir string, change func(*Input), names ...string) made {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "build.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, diags := config.Load([]config.File{{Name: "build.hcl", Data: data}}, config.Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	g, diags := graph.New(cfg)
	if !diags.HasErrors() {
		g, diags = g.Select(names...)
	}
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	in := Input{Dir: dir, Files: []string{"build.hcl"}, Graph: g, Own: true, Count: &Counting{}}
	if change != nil {
		change(&in)
	}
	in.Foresight, err = buildkit.Foresee(t.Context(), g, buildkit.ForeseeOptions{
		Dir: dir, Own: in.Own, Lower: buildkit.LowerOptions{Provenance: true, Platform: "linux/amd64"},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return made{p, g}
}

// golden compares text with a file of testdata; KILN_UPDATE rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("KILN_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: want (-), got (+):\n%s", path, diff)
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

// shop is a definition with something of everything.
var shop = map[string]string{
	"build.hcl": `
group "default" { targets = ["api", "jobs", "tool"] }
target "base" {
  description = "the ground of all"
  context = "base"
  args = { DEBIAN = "12" }
}
target "api" {
  context    = "."
  dockerfile = "api/Dockerfile"
  contexts   = { base = "target:base", "alpine:3.20" = "docker-image://alpine:3.21", pages = "pages" }
  variants   = ["prod", "dev"]
  tags       = ["shop/api:${variant}", "registry.example.com/api:latest"]
  args       = { NPM_TOKEN = "hunter2-hunter2", MODE = variant }
  secret     = ["id=npm,env=NPM"]
  ssh        = ["default"]
  cache-to   = ["type=registry,ref=registry.example.com/cache"]
  cache-from = ["type=registry,ref=registry.example.com/cache"]
  platforms  = ["linux/amd64", "linux/arm64"]
  timeout    = "5m"
  weight     = 2
}
target "jobs" {
  matrix     = { job = ["mail", "stock"] }
  name       = "job-${job}"
  context    = "https://user:s3cr3tpass@git.example.com/jobs.git"
  labels     = { "job" = job }
  output     = ["type=local,dest=out"]
}
target "tool" {
  depends-on = ["api"]
  dockerfile-inline = <<-EOT
    FROM registry.example.com/go@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    COPY nosuch /
  EOT
  no-cache   = true
  context    = "base"
}
target "broken" { dockerfile = "none.Dockerfile" }
`,
	"base/Dockerfile":  "ARG DEBIAN=11\nARG NAME=debian:${DEBIAN}\nFROM $NAME\nCOPY src /src\n",
	"base/src/a":       strings.Repeat("a", 2000),
	"base/src/deep/b":  strings.Repeat("b", 100000),
	"base/unasked":     "u",
	"api/Dockerfile":   "FROM alpine:3.20 AS build\nCOPY api lib /\n\nFROM base AS dev\nCOPY --from=busybox:1 /bin/sh /bin/sh\n\nFROM base\nCOPY --from=build / /\nCOPY --from=pages . /pages\n",
	"api/main.go":      "package main\n",
	"lib/lib.go":       "package lib\n",
	"lib/ignored.swp":  "swap",
	"pages/index.html": "<p>\n",
	".dockerignore":    "**/*.swp\n",
}

func TestText(t *testing.T) {
	dir := write(t, shop)
	p := makePlan(t, dir, nil)
	for _, tt := range []struct {
		name string
		o    TextOptions
	}{
		{"shop.txt", TextOptions{}},
		{"shop-80.txt", TextOptions{Width: 80}},
		{"shop-40.txt", TextOptions{Width: 40}},
		{"shop-color.txt", TextOptions{Width: 80, Color: true}},
	} {
		golden(t, tt.name, p.Text(tt.o))
	}
	listed := makePlan(t, dir, func(in *Input) { in.Count.List = true }, "base")
	golden(t, "files.txt", listed.Text(TextOptions{Width: 80}))
}

// The JSON form is the same whenever it is made of the same files, wherever
// they are, and has no secrets.
func TestJSON(t *testing.T) {
	first := encoded(t, makePlan(t, write(t, shop), nil).Plan)
	golden(t, "shop.json", string(first))
	second := encoded(t, makePlan(t, write(t, shop), nil).Plan)
	if !bytes.Equal(first, second) {
		t.Error("the plan is another in another directory")
	}
	for _, secret := range []string{"hunter2", "s3cr3tpass"} {
		if bytes.Contains(first, []byte(secret)) {
			t.Errorf("the plan has %s in it", secret)
		}
	}
}

// codes are the warnings of a plan, with their targets.
func codes(p *Plan) string {
	var out []string
	for _, w := range p.Warnings {
		out = append(out, w.Code+" "+strings.Join(w.Targets, ","))
	}
	return strings.Join(out, "; ")
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ name, hcl, want string }{
		{"nothing", `target "a" { context = "d" }`, ""},
		{"two names", "target \"a\" {\n tags = [\"x\"]\n context = \"d\"\n}\ntarget \"b\" {\n tags = [\"docker.io/library/x:latest\"]\n context = \"d\"\n}", "tag-twice a,b"},
		{"other places", "target \"a\" {\n tags = [\"x:1\"]\n context = \"d\"\n}\ntarget \"b\" {\n tags = [\"x:2\"]\n context = \"d\"\n}", ""},
		{"caches", "target \"a\" {\n cache-to = [\"type=local,dest=c\"]\n context = \"d\"\n}\ntarget \"b\" {\n cache-to = [\"type=local,dest=c\"]\n context = \"d\"\n}", "cache-twice a,b"},
		{"inline caches", "target \"a\" {\n cache-to = [\"type=inline\"]\n context = \"d\"\n}\ntarget \"b\" {\n cache-to = [\"type=inline\"]\n context = \"d\"\n}", ""},
		{"outputs", "target \"a\" {\n output = [\"type=local,dest=o\"]\n context = \"d\"\n}\ntarget \"b\" {\n output = [\"type=local,dest=o\"]\n context = \"d\"\n}", "output-twice a,b"},
		{"secret", "target \"a\" {\n args = { API_KEY = \"k\", KEY_FILE = \"f\", EMPTY_TOKEN = \"\" }\n context = \"d\"\n}", "secret-argument a"},
		{"base", "target \"a\" {\n dockerfile-inline = \"FROM alpine\"\n}\ntarget \"b\" {\n dockerfile-inline = \"FROM alpine\\nCOPY --from=busybox / /\"\n}", "unpinned-base a,b; unpinned-base b"},
		{"Dockerfile", `target "a" { dockerfile = "none" }`, "would-fail a"},
		{"context", `target "a" { context = "none" }`, "would-fail a"},
		{"syntax", `target "a" { dockerfile-inline = "FORM x" }`, "would-fail a"},
		{"stage", "target \"a\" {\n dockerfile-inline = \"FROM scratch\"\n target = \"b\"\n}", "would-fail a"},
		{"lowering", "target \"a\" {\n network = \"moon\"\n context = \"d\"\n}", "would-fail a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, map[string]string{"build.hcl": tt.hcl, "d/Dockerfile": "FROM scratch\n", "Dockerfile": "FROM scratch\n"})
			if got := codes(makePlan(t, dir, nil, "*").Plan); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	dir := write(t, map[string]string{"build.hcl": "target \"a\" {}\ntarget \"b\" { output = [\"type=cacheonly\"] }", "Dockerfile": "FROM scratch\n"})
	if got, want := codes(makePlan(t, dir, func(in *Input) { in.Own = false }, "a", "b").Plan), "no-output a"; got != want {
		t.Errorf("on another builder: got %q, want %q", got, want)
	}
}

// What diagnostics say is told once, whoever says it, and secrets are hidden
// in it.
func TestProblems(t *testing.T) {
	dir := write(t, map[string]string{"build.hcl": "target \"a\" { dockerfile = \"none\" }\n"})
	rng := hcl.Range{Filename: "build.hcl", Start: hcl.Pos{Line: 1}}
	p := makePlan(t, dir, func(in *Input) {
		in.Hide = func(s string) string { return strings.ReplaceAll(s, "hunter2", "(hidden)") }
		in.Problems = hcl.Diagnostics{
			{Severity: hcl.DiagError, Detail: `Target "a" needs the Dockerfile "none", hunter2.`, Subject: &rng},
			{Severity: hcl.DiagWarning, Detail: "Only a warning."},
		}
	}, "a")
	want := []Warning{{Code: WouldFail, Text: `Target "a" needs the Dockerfile "none", (hidden).`, Targets: []string{"a"}, Place: &Place{"build.hcl", 1}}}
	if diff := cmp.Diff(want, p.Warnings); diff != "" {
		t.Error(diff)
	}
}

// What is not sure is said.
func TestUnsure(t *testing.T) {
	for _, tt := range []struct{ dockerfile, want string }{
		{"FROM alpine\nCOPY a /\n", ""},
		{"FROM alpine\nCOPY $HOME /\n", "line 2 of its Dockerfile names a file by a variable that only its base image may have"},
		{"FROM alpine\nARG F=a\nCOPY $F /\nWORKDIR $HOME\n", ""},
		{"# syntax=docker/dockerfile:1\nFROM alpine\nCOPY a /\n", ""},
		{"# syntax=example.com/mine\nFROM alpine\nCOPY a /\n", "its Dockerfile is read by the frontend example.com/mine, which kiln does not know"},
	} {
		dir := write(t, map[string]string{"build.hcl": `target "default" {}`, "Dockerfile": tt.dockerfile, "a": "a"})
		if got := strings.Join(makePlan(t, dir, nil).Targets[0].Unsure, "; "); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.dockerfile, got, tt.want)
		}
	}
}

// Counting ends where it is told to, and says so.
func TestCounting(t *testing.T) {
	files := map[string]string{"build.hcl": `target "default" {}`, "Dockerfile": "FROM scratch\nCOPY d /\n"}
	for _, name := range strings.Split(strings.Repeat("x", 30), "") {
		files["d/"+name+strings.Repeat("y", len(files))] = "12345"
	}
	dir := write(t, files)
	ticks := 0
	p := makePlan(t, dir, func(in *Input) { in.Count.Most = 10; in.Count.Tick = func(int64) { ticks++ } })
	if a := p.Sends.Amount; a.Files != 10 || a.Bytes != 50 || !a.AtLeast {
		t.Errorf("%+v", a)
	}
	if a := p.Targets[0].Sends; !a.AtLeast || a.Files != 10 || !strings.HasPrefix(a.text(), "more than 10 files, 50B") {
		t.Errorf("%+v", a)
	}
	if p = makePlan(t, dir, nil); p.Sends.Files != 30 || p.Sends.AtLeast {
		t.Errorf("%+v", p.Sends.Amount)
	}
	if p = makePlan(t, dir, func(in *Input) { in.Count = nil }); p.Sends != nil || p.Targets[0].Sends != nil {
		t.Error("it was counted, though nobody asked for that")
	}
}

// The shares of targets add up from one walk, also where their paths are
// patterns or lie in each other.
func TestShares(t *testing.T) {
	dir := write(t, map[string]string{
		"build.hcl": "target \"a\" { dockerfile-inline = \"FROM scratch\\nCOPY x x/deep /\" }\ntarget \"b\" { dockerfile-inline = \"FROM scratch\\nCOPY y/*.c x/deep /\" }\ntarget \"c\" { dockerfile-inline = \"FROM scratch\\nCOPY file /\" }",
		"x/1":       "1", "x/deep/2": "22", "y/3.c": "333", "y/4.h": "4444", "file": "55555", "unasked": "u",
	})
	p := makePlan(t, dir, nil, "*")
	var got []int64
	for _, target := range p.Targets {
		got = append(got, target.Sends.Files, target.Sends.Bytes)
	}
	if want := []int64{2, 3, 2, 5, 1, 5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(p.Sends.Uploads) != 1 || p.Sends.Files != 4 || p.Sends.Bytes != 11 {
		t.Errorf("in all %+v", p.Sends)
	}
}

// What a file says moves no cursor.
func TestTextIsVisible(t *testing.T) {
	p := makePlan(t, write(t, map[string]string{
		"build.hcl":  "target \"a\" {\n description = \"x\\u001b[2Jy\"\n args = { K = \"a\\rb\\u202ec\" }\n}",
		"Dockerfile": "FROM scratch\nCOPY d /\n", "d/e\x1b[1mf": "f",
	}), func(in *Input) { in.Count.List = true }, "a")
	text := p.Text(TextOptions{})
	if strings.ContainsAny(text, "\x1b\r\u202e") || !strings.Contains(text, "d/e\ufffd[1mf") {
		t.Errorf("got %q", text)
	}
}
