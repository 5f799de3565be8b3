package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// composeIn reads ".env" and env_file from a map.
func composeIn(env map[string]string, files map[string]string) Inputs {
	return Inputs{Env: env, Compose: ComposeInputs{ReadFile: func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}}}
}

// written is a target's attributes as JSON, one a line.
func written(t *testing.T, target composeTarget) string {
	t.Helper()
	var lines []string
	for _, attr := range composeAttrs {
		v, ok := target.Attrs[attr.name]
		if !ok {
			continue
		}
		text, err := stdlib.JSONEncode(v)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, attr.name+" "+text.AsString())
	}
	return strings.Join(lines, "\n")
}

func diagText(diags hcl.Diagnostics) string {
	var b strings.Builder
	for _, d := range diags {
		b.WriteString(at(*d.Subject) + " " + d.Summary + "; " + d.Detail + "\n")
	}
	return b.String()
}

const everyRow = `
services:
  web.app:
    image: web:1
    environment: { FROM_SERVICE: s }
    env_file: [web.env]
    depends_on: [db]
    build:
      context: ./src/../web/
      dockerfile: web.Dockerfile
      target: prod
      args: { A: "1", FROM_SERVICE: , FROM_FILE: , FROM_ENV: , NOWHERE: }
      labels: [ "team=core" ]
      platforms: [ linux/amd64 ]
      network: host
      tags: [ "web:2", "web:3" ]
      cache_from: [ "type=registry,ref=r/c", "r/d" ]
      cache_to: [ "type=inline" ]
      secrets: [ filed, { source: env, target: /x } ]
      ssh: [ zeta=/k/z, default ]
      additional_contexts: { base: "service:base.img", other: ./o, t: "target:a.b", img: "docker-image://alpine" }
      shm_size: 128m
      ulimits: { nproc: 65535, nofile: { soft: 1024, hard: 2048 } }
      extra_hosts: [ "h=1.1.1.1", "h=2.2.2.2" ]
      no_cache: true
      pull: false
      sbom: true
      provenance: mode=max
      privileged: true
      x-bake:
        tags: [ "web:4" ]
        platforms: linux/arm64 linux/arm
        cache-from: type=gha
        cache-to: [ "type=gha" ]
        secret: [ "id=more,src=m" ]
        ssh: default=/k/d
        output: type=docker
        no-cache: false
        pull: true
        no-cache-filter: [ one ]
        contexts: { other: ./ignored, extra: ./e }
        wrong: x
  base.img: { build: { context: base, dockerfile_inline: "FROM scratch", additional_contexts: [ "c=./c" ] } }
  short: { build: dir, image: "short:1" }
  db: { image: postgres, nonsense: { a: b } }
secrets:
  filed: { file: ./s.txt }
  env: { environment: TOKEN }
`

func TestComposeEveryRow(t *testing.T) {
	in := composeIn(map[string]string{"FROM_ENV": "e"}, map[string]string{"web.env": "FROM_FILE=f\nFROM_SERVICE=loses\n"})
	got, diags := parseCompose([]File{{Name: "compose.yaml", Data: []byte(everyRow), Base: "sub"}}, in)
	if want := "compose.yaml:42 Unknown key of x-bake; The key \"wrong\" of x-bake of service \"web.app\" has no effect.\n"; diagText(diags) != want {
		t.Fatalf("diagnostics: %s", diagText(diags))
	}
	names := []string{}
	for _, target := range got.Targets {
		names = append(names, target.Name)
	}
	want := []string{"base_img", "short", "web_app"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, got.Group.Members); diff != "" || got.Group.Name != "default" {
		t.Error(diff)
	}
	web := got.Targets[2]
	if diff := cmp.Diff(strings.TrimSpace(`
context "web"
contexts {"base":"target:base_img","extra":"./e","img":"docker-image://alpine","other":"o","t":"target:a_b"}
dockerfile "web.Dockerfile"
target "prod"
args {"A":"1","FROM_ENV":"e","FROM_FILE":"f","FROM_SERVICE":"s"}
labels {"team":"core"}
tags ["web:2","web:3","web:4"]
platforms ["linux/amd64","linux/arm64","linux/arm"]
cache-from ["type=registry,ref=r/c","r/d","type=gha"]
cache-to ["type=inline","type=gha"]
secret [{"id":"filed","src":"s.txt"},{"env":"TOKEN","id":"env"},"id=more,src=m"]
ssh [{"id":"default","paths":["/k/d"]},{"id":"zeta","paths":["/k/z"]}]
output ["type=docker"]
no-cache-filter ["one"]
network "host"
shm-size "128MiB"
ulimits ["nofile=1024:2048","nproc=0:0"]
extra-hosts {"h":"1.1.1.1,2.2.2.2"}
no-cache false
pull true
attest ["type=sbom,disabled=false","type=provenance,mode=max"]`), written(t, web)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if web.Base != "sub" || web.Range.Start.Line != 3 || web.Ranges["tags"].Start.Line != 16 {
		t.Errorf("base %q, at %v, tags at %v", web.Base, web.Range, web.Ranges["tags"])
	}
	if got := written(t, got.Targets[0]); got != "context \"base\"\ncontexts {\"c\":\"c\"}\ndockerfile-inline \"FROM scratch\"" {
		t.Errorf("base_img: %s", got)
	}
	if got := written(t, got.Targets[1]); got != "context \"dir\"\ntags [\"short:1\"]" {
		t.Errorf("short: %s", got)
	}
}

// Values come from --var, else the environment, else .env; each variable
// that is not set is told once.
func TestComposeVariables(t *testing.T) {
	in := composeIn(map[string]string{"B": "env", "C": "env"}, map[string]string{".env": "C=dot\nD=dot-$B\n"})
	in.Vars = map[string]string{"B": "var"}
	file := File{Name: "compose.yml", Data: []byte(`services:
  app:
    build:
      context: .
      args:
        A: "${A:-d}${A-e}${A:+f}"
        B: "$B"
        C: "${C}"
        D: "${D}"
        E: "x${E}y$E $$E ${E:-z}${E}"
        F: "${F:-${G}}"
`)}
	got, diags := parseCompose([]File{file}, in)
	want := `context "."
args {"A":"de","B":"var","C":"env","D":"dot-env","E":"xy $E z","F":""}`
	if diff := cmp.Diff(want, written(t, got.Targets[0])); diff != "" {
		t.Error(diff)
	}
	warned := diagText(diags)
	if strings.Count(warned, "\n") != 2 || diags.HasErrors() ||
		!strings.Contains(warned, `compose.yml:10 Variable is not set; The Compose file uses the variable "E"`) ||
		!strings.Contains(warned, `compose.yml:11 Variable is not set; The Compose file uses the variable "G"`) {
		t.Errorf("warnings: %s", warned)
	}
}

func TestComposeProblems(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "services:\n  a: [\n", "c.yaml:"},
		{"hcl", `target "a" {}`, "c.yaml:1 Invalid Compose file"},
		{"list", "- a\n", "top-level object must be a mapping"},
		{"empty", "x-a: 1\n", "there are no services in it"},
		{"unknown build key", "services:\n  a:\n    build:\n      context: .\n      nosuch: 1\n", "c.yaml:3 Invalid Compose file"},
		{"neither", "services:\n  a:\n    environment: {}\n", `c.yaml:2 Invalid Compose file; The Compose file c.yaml cannot be used: service "a" has neither`},
		{"both dockerfiles", "services:\n  a:\n    build: { context: ., dockerfile: a, dockerfile_inline: b }\n", "dockerfile_inline"},
		{"required", "services:\n  a:\n    build: { context: '${X:?give X}' }\n", "give X"},
		{"external secret", "services:\n  a:\n    build: { context: ., secrets: [s] }\nsecrets: { s: { external: true } }\n", `the secret "s" is external`},
		{"unknown secret", "services:\n  a:\n    build: { context: ., secrets: [s] }\n", "s"},
		{"unknown service", "services:\n  a:\n    build: { context: ., additional_contexts: { b: 'service:nope' } }\n", "nope"},
		{"bad ulimit", "services:\n  a:\n    build: { context: ., ulimits: { nope: { soft: 1, hard: 2 } } }\n", "c.yaml:3 Invalid Compose service"},
		{"soft over hard", "services:\n  a:\n    build: { context: ., ulimits: { nofile: { soft: 3, hard: 2 } } }\n", "nofile"},
		{"x-bake list", "services:\n  a:\n    build: { context: ., x-bake: [a] }\n", "x-bake must be a mapping"},
		{"x-bake flag", "services:\n  a:\n    build: { context: ., x-bake: { pull: maybe } }\n", "true or false"},
		{"x-bake tags", "services:\n  a:\n    build: { context: ., x-bake: { tags: { a: b } } }\n", "must be text"},
		{"x-bake contexts", "services:\n  a:\n    build: { context: ., x-bake: { contexts: [a] } }\n", "must be a mapping"},
		{"missing env_file", "services:\n  a:\n    image: i\n    env_file: no.env\n", "c.yaml:4 Invalid env_file; Service \"a\": reading no.env"},
		{"name", "services:\n  'a b':\n    build: { context: . }\n", "a b"},
		{"empty build under extends", "services:\n  a:\n    extends: { service: b }\n    build: { network: n }\n  b:\n    image: i\n    build:\n", "the Compose loader cannot handle it"},
		{"bomb", "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n" +
			"services: { a: { build: . , x: [*f,*f,*f,*f] } }\n", "c.yaml"},
	} {
		got, diags := parseCompose([]File{{Name: "c.yaml", Data: []byte(c.text)}}, composeIn(nil, nil))
		if text := diagText(diags); !diags.HasErrors() || !strings.Contains(text, c.want) || got.Group != nil {
			t.Errorf("%s: want %q in:\n%s", c.name, c.want, text)
		}
	}
}

func TestComposeDotEnvProblems(t *testing.T) {
	file := File{Name: "c.yaml", Data: []byte("services: { a: { build: . } }")}
	_, diags := parseCompose([]File{file}, composeIn(nil, map[string]string{".env": "not a pair\n"}))
	if text := diagText(diags); !strings.Contains(text, ".env:1 Invalid .env file") {
		t.Errorf("got %s", text)
	}
	in := Inputs{Compose: ComposeInputs{ReadFile: func(string) ([]byte, error) { return nil, errors.New("locked") }}}
	if _, diags = parseCompose([]File{file}, in); !strings.Contains(diagText(diags), "locked") {
		t.Errorf("got %s", diagText(diags))
	}
	if _, diags = parseCompose([]File{file}, Inputs{}); diags.HasErrors() {
		t.Errorf("without a reader: %s", diagText(diags))
	}
}

// Files are merged by Compose's rules; the last one's places count.
func TestComposeFilesAreMerged(t *testing.T) {
	files := []File{
		{Name: "a.yaml", Data: []byte("services:\n  app:\n    build:\n      context: a\n      args: { X: '1', Y: '1' }\n      tags: [t1]\n")},
		{Name: "b.yaml", Data: []byte("services:\n  app:\n    build:\n      args: { Y: '2' }\n      tags: [t2]\n  none:\n    image: i\n")},
	}
	got, diags := parseCompose(files, composeIn(nil, nil))
	if len(diags) > 0 {
		t.Fatal(diagText(diags))
	}
	want := "context \"a\"\nargs {\"X\":\"1\",\"Y\":\"2\"}\ntags [\"t1\",\"t2\"]"
	if diff := cmp.Diff(want, written(t, got.Targets[0])); diff != "" {
		t.Error(diff)
	}
	if r := got.Targets[0].Ranges; at(r["context"]) != "a.yaml:4" || at(r["args"]) != "b.yaml:4" {
		t.Errorf("places %v %v", r["context"], r["args"])
	}
}

func TestComposeWithoutBuild(t *testing.T) {
	got, diags := parseCompose([]File{{Name: "c.yaml", Data: []byte("services: { a: { image: b } }")}}, Inputs{})
	if len(diags) > 0 || got.Group == nil || got.Group.Members != nil || got.Targets != nil {
		t.Errorf("got %+v %s", got, diagText(diags))
	}
	if got, diags := parseCompose(nil, Inputs{}); got.Group != nil || diags != nil {
		t.Errorf("no files: %v %v", got, diags)
	}
}

func TestComposeExtendsAndInclude(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lib/base.yaml":  "services: { base: { build: { context: ., args: { A: '1' } } } }",
		"lib/other.yaml": "services: { other: { build: ./o } }",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	file := File{Name: "c.yaml", Data: []byte("include: [ lib/other.yaml ]\nservices: { app: { extends: { file: lib/base.yaml, service: base } } }")}
	got, diags := parseCompose([]File{file}, composeIn(nil, nil))
	if len(diags) > 0 {
		t.Fatal(diagText(diags))
	}
	var all []string
	for _, target := range got.Targets {
		all = append(all, target.Name+": "+written(t, target))
	}
	want := "app: context \"lib\"\nargs {\"A\":\"1\"}|other: context \"lib/o\""
	if diff := cmp.Diff(want, strings.Join(all, "|")); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{
		string(file.Data),
		"include: [ lib/other.yaml ]\nservices: { app: { build: . } }",
		"services: { app: { extends: { file: lib/base.yaml, service: base } } }",
		"services: { app: { env_file: .env, build: { context: ., args: { A: } } } }",
	} {
		_, diags := parseCompose([]File{{Name: "c.yaml", Data: []byte(text), Remote: true}}, composeIn(nil, map[string]string{".env": "A=1"}))
		if !strings.Contains(diagText(diags), "remote definition may not name files of this machine") {
			t.Errorf("%s: %s", text, diagText(diags))
		}
	}
}

func TestIsCompose(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"services: { a: { build: . } }", true},
		{`{"services": {"a": {"build": "."}}}`, true},
		{`target "a" {}`, false},
		{`{"target": {"a": {}}}`, false},
		{"", false},
	} {
		if got := isCompose(File{Name: "-", Data: []byte(c.text)}, Inputs{}); got != c.want {
			t.Errorf("%s: %v", c.text, got)
		}
	}
	for name, want := range map[string][2]bool{"a.YML": {true, true}, "a.yaml": {true, true}, "a.hcl": {false, true}, "a.json": {false, true}, "-": {}, "a.txt": {}} {
		if is, known := isComposeName(name); is != want[0] || known != want[1] {
			t.Errorf("%s: %v %v", name, is, known)
		}
	}
}
