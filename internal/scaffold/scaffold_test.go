package scaffold

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

func load(files []config.File) (*config.Config, hcl.Diagnostics) {
	return config.Load(files, config.Inputs{})
}

// dockerfiles reads lines such as
//
//	api/Dockerfile: build,dev,prod < base:1 alpine   stages < images
func dockerfiles(t *testing.T, text string) []Dockerfile {
	t.Helper()
	var out []Dockerfile
	for line := range strings.Lines(strings.TrimSpace(text)) {
		path, rest, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("line %q", line)
		}
		stages, images, _ := strings.Cut(rest, "<")
		d := Dockerfile{Path: strings.TrimSpace(path), Stages: strings.Split(strings.TrimSpace(stages), ","), Images: strings.Fields(images)}
		out = append(out, d)
	}
	return out
}

// show writes targets as "name(variant=stage|file) < link=to".
func show(in Input) string {
	s := &scaffold{Input: in, taken: map[string]bool{"default": true}, covered: map[string]bool{}}
	s.addSets()
	s.findTargets()
	s.linkTargets()
	var b strings.Builder
	for _, t := range s.targets {
		fmt.Fprintf(&b, "%s %s", t.name, t.context)
		if t.dockerfile != "" {
			fmt.Fprintf(&b, " file=%s", t.dockerfile)
		}
		for _, v := range t.variants {
			fmt.Fprintf(&b, " %s=%s%s", v.name, v.stage, v.dockerfile)
		}
		for _, c := range t.contexts {
			fmt.Fprintf(&b, " <%s=%s", c.ref, c.to)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func yes(string) bool { return true }

func TestTargets(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"the directory's name, the project's at the root", "Dockerfile: \nservices/api/Dockerfile: \n", "shop .\napi services/api\n"},
		{"a name that is taken gets more of the path", "a/web/Dockerfile: \nb/web/Dockerfile: \nweb/Dockerfile: \n", "web a/web\nb-web b/web\nshop-web web\n"},
		{"the same twice over", "x/Dockerfile.a: \nx/a.Dockerfile: \n", "Dockerfile-a x file=Dockerfile.a\na-Dockerfile x file=a.Dockerfile\n"},
		{"names of files", "docker/worker.Dockerfile: \ndocker/Dockerfile.cron: \ndocker/Dockerfile: \n", "worker docker file=worker.Dockerfile\ncron docker file=Dockerfile.cron\nshop docker\n"},
		{"odd names", "a b+c/Dockerfile: \n日本/Dockerfile: \n_x/Containerfile: \n", "a-b-c a b+c\nimage 日本\nx _x file=Containerfile\n"},
		{"stages", "a/Dockerfile: base,dev,production\nb/Dockerfile: build,test,\nc/Dockerfile: build,release\nd/Dockerfile: dev,test\n",
			"a a prod=production dev=dev\nb b prod= test=test\nc c\nd d dev=dev test=test\n"},
		{"files", "a/Dockerfile: \na/Dockerfile.dev: \nb/Dockerfile: \nb/Dockerfile.prod: \nc/Dockerfile.dev: \nd/Dockerfile.test: \nd/Dockerfile.prod: \n",
			"a a prod= dev=Dockerfile.dev\nb b prod=Dockerfile.prod dev=\nc c file=Dockerfile.dev\nd d prod=Dockerfile.prod test=Dockerfile.test\n"},
		{"stages and files", "a/Dockerfile: dev,prod\na/Dockerfile.debug: \n", "a a prod=prod dev=dev debug=Dockerfile.debug\n"},
		{"two of one variant", "a/Dockerfile.dev: \na/dev.Dockerfile: \n", "Dockerfile-dev a file=Dockerfile.dev\ndev-Dockerfile a file=dev.Dockerfile\n"},
		{"links", "base/Dockerfile: <alpine\napi/Dockerfile: <base:1 node\nnode/Dockerfile: <debian\nweb/Dockerfile: <acme/base other/base ghcr.io/acme/base@sha256:" + strings.Repeat("a", 64) + "\n",
			"base base\napi api <base:1=base\nnode node\nweb web <acme/base=base <ghcr.io/acme/base@sha256:" + strings.Repeat("a", 64) + "=base\n"},
		{"links never go round", "a/Dockerfile: <b\nb/Dockerfile: <c\nc/Dockerfile: <a\n", "a a <b=b\nb b <c=c\nc c\n"},
		{"what only adds to its image is not it", "tool/Dockerfile: <tool:1\napp/Dockerfile: <tool:1\n", "tool tool\napp app\n"},
		{"links of variants", "base/Dockerfile: dev,prod\na/Dockerfile: dev,prod <base\nb/Dockerfile: test,prod <base\nc/Dockerfile:  <base\n",
			"base base prod=prod dev=dev\na a prod=prod dev=dev <base=base\nb b prod=prod test=test <base=base-prod\nc c <base=base-prod\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := Input{Name: "shop", Owner: "acme", Dockerfiles: dockerfiles(t, tt.in), Has: yes, Holds: yes, Load: load}
			if diff := cmp.Diff(tt.want, show(in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			r := New(in)
			if cfg, diags := load([]config.File{{Name: FileName, Data: []byte(r.Text)}}); diags.HasErrors() {
				t.Errorf("it does not load: %v\n%s", diags, r.Text)
			} else if len(cfg.Targets) != len(r.Targets) {
				t.Errorf("%d targets, said to be %v", len(cfg.Targets), r.Targets)
			}
		})
	}
}

func TestContextOf(t *testing.T) {
	there := map[string]bool{"go.mod": true, "services/api/main.go": true, "services/api": true, "services": true, "docker": true, "a/b/src": true}
	full := map[string]bool{".": true, "services": true, "services/api": true, "a": true, "a/b": true}
	s := &scaffold{Input: Input{
		Has:   func(p string) bool { return p == "." || there[p] || full[p] },
		Holds: func(dir string) bool { return full[dir] },
	}}
	for _, tt := range []struct{ file, sources, want string }{
		{"services/api/Dockerfile", "main.go .", "services/api"},
		{"services/api/Dockerfile", "go.mod services/api", "."},
		{"services/api/Dockerfile", "nowhere", "services/api"},
		{"docker/Dockerfile", ".", "."},
		{"docker/Dockerfile", "", "docker"},
		{"a/b/c/Dockerfile", "src/*.go", "a/b"},
		{"Dockerfile", "nowhere", "."},
	} {
		if got := s.contextOf(Dockerfile{Path: tt.file, Sources: strings.Fields(tt.sources)}); got != tt.want {
			t.Errorf("%s that copies %q has the context %q, want %q", tt.file, tt.sources, got, tt.want)
		}
	}
}

func TestIsDockerfile(t *testing.T) {
	for name, want := range map[string]bool{
		"Dockerfile": true, "dockerfile": true, "Containerfile": true, "Dockerfile.dev": true, "api.Dockerfile": true, "api.dockerfile": true, "Containerfile.x": true,
		"Dockerfile.dockerignore": false, "api.Dockerfile.dockerignore": false, "Dockerfile.j2": false, "Dockerfile.tmpl": false, "Dockerfile~": false,
		"MyDockerfile": false, "Dockerfiles": false, "Dockerfile.md": false, "Dockerfile.go": true, "dockerfile.go": false, "Dockerfile_test.rb": false,
	} {
		if IsDockerfile(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	for name, want := range map[string]bool{"vendor": true, "node_modules": true, ".git": true, ".docker": false, "src": false, "vendors": false} {
		if Skipped(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// The variable of the tags is declared once, and never one that has no value.
func TestTagVariable(t *testing.T) {
	for declared, want := range map[string]string{
		"":                                     `"a:${TAG}"`,
		"variable \"TAG\" { default = \"2\" }": `"a:${TAG}"`,
		"variable \"TAG\" {}":                  `"a:${IMAGE_TAG}"`,
		"variable \"TAG\" { default = null }":  `"a:${IMAGE_TAG}"`,
	} {
		r := New(Input{
			Name: "shop", Dockerfiles: dockerfiles(t, "a/Dockerfile: "), Has: yes, Holds: yes, Load: load,
			Sets: []Set{{Dir: ".", Files: []config.File{{Name: "docker-bake.hcl", Data: []byte(declared + "\ntarget \"x\" {}\n")}}}},
		})
		if !strings.Contains(r.Text, want) {
			t.Errorf("with %q:\n%s", declared, r.Text)
		}
	}
}
