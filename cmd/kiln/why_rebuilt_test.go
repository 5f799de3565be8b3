package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kilnbuild/kiln/internal/testenv"
)

const whyDefinition = `
variable "BUSYBOX" {}
variable "IMAGE" {}
group "default" { targets = ["app"] }
target "base" {
  context  = "base"
  contexts = { bin = BUSYBOX }
  output   = ["type=cacheonly"]
}
target "app" {
  contexts = { base = "target:base" }
  args     = { IMAGE = IMAGE, GREETING = "hello", API_TOKEN = "correct-horse-1" }
  secret   = ["id=s,src=secret.txt"]
  output   = ["type=cacheonly"]
}
`

const whyDockerfile = `ARG IMAGE
FROM base AS made
ENV COLOUR=red
COPY src /src
ARG GREETING
RUN echo $GREETING > /greeting
RUN cat /greeting /src/* > /all
ARG API_TOKEN
RUN --mount=type=secret,id=s echo $API_TOKEN > /last; grep -v bad /run/secrets/s
FROM $IMAGE
COPY --from=made /all /last /
COPY late /late
`

// A whyScene is a definition that is built again and again, with something
// changed each time.
type whyScene struct {
	*shell
	image string
}

func newWhyScene(t *testing.T) *whyScene {
	s := &whyScene{shell: newShell(t)}
	f := newFaultyRegistry(t)
	s.image = f.host() + "/image:1"
	s.push()
	s.env = append(s.env, "BUSYBOX="+filepath.Dir(testenv.Busybox(t)), "IMAGE="+s.image, "GITHUB_STEP_SUMMARY=", "OTEL_EXPORTER_OTLP_ENDPOINT=")
	for _, dir := range []string{"base", "src", "late"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{
		"build.hcl": whyDefinition, "Dockerfile": whyDockerfile, "secret.txt": "good\n",
		"base/Dockerfile": "FROM scratch\nCOPY --from=bin busybox /bin/busybox\nCOPY motd /motd\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n", "base/motd": "welcome\n",
		"src/a": "one\n", "src/c": "c\n", "src/dir": "x\n", "late/z": "z\n",
	} {
		s.write(path, text)
	}
	return s
}

// push gives the image that app is built on another content.
func (s *whyScene) push() {
	s.t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	ref, err := name.ParseReference(s.image)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		s.t.Fatal(err)
	}
}

// replace changes a part of a file.
func (s *whyScene) replace(path, old, now string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, path))
	if err != nil || !strings.Contains(string(text), old) {
		s.t.Fatalf("%s has no %q (%v)", path, old, err)
	}
	s.write(path, strings.Replace(string(text), old, now, 1))
}

func (s *whyScene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// whyCases are what may change, in turn: each is what the one before left.
// Want has to be in what kiln says, in that order; none of absent may.
var whyCases = []struct {
	name   string
	change func(s *whyScene)
	build  string // in place of "kiln build"
	fails  bool
	want   []string
	absent string
}{
	{name: "first", want: []string{`base \[stage-0 1/3\] COPY --from=bin busybox /bin/busybox \(base/Dockerfile:2\) was the first step`, "no run before is recorded"}},
	{name: "nothing", want: []string{`app was not rebuilt in run \S+: all of its \d+ steps were in the cache`, `rebuilt last in run \S+: kiln why-rebuilt app --run`}},
	{name: "file of the same size", change: func(s *whyScene) { s.write("src/a", "two\n") },
		want: []string{`\[made 1/5\] COPY src /src \(Dockerfile:4\) was the first step`, "file src/a has changed\n", "was 4B, mode 644, checksum", "is  4B", "these were done again:", `RUN cat /greeting`, `\[stage-1 2/3\] COPY --from=made /all /last /`}},
	{name: "new file", change: func(s *whyScene) { s.write("src/b", "new\n") }, want: []string{"COPY src /src", "file src/b is new: 4B"}},
	{name: "mode", change: func(s *whyScene) { s.must(os.Chmod(filepath.Join(s.dir, "src/b"), 0o755)) }, want: []string{"file src/b has changed", "mode 644", "mode 755"}},
	{name: "file gone", change: func(s *whyScene) { s.must(os.Remove(filepath.Join(s.dir, "src/c"))) }, want: []string{"file src/c is gone; it was 2B"}},
	{name: "file only touched", change: func(s *whyScene) {
		at := time.Now().Add(-time.Hour)
		s.must(os.Chtimes(filepath.Join(s.dir, "src/a"), at, at))
	}, want: []string{"app was not rebuilt"}},
	{name: "file with a hostile name", change: func(s *whyScene) { s.write("late/\x1b[2Jx", "x\n") }, want: []string{"file late/\uFFFD\\[2Jx is new"}, absent: "\x1b"},
	{name: "file of the last stage", change: func(s *whyScene) { s.write("late/z", "other\n") }, want: []string{`\[stage-1 3/3\] COPY late /late \(Dockerfile:12\) was the first step`, "file late/z has changed"}, absent: "done again"},
	{name: "left out", change: func(s *whyScene) { s.write(".dockerignore", "src/dir\n") }, want: []string{"COPY src /src", "file src/dir is gone", "what is left out of .*dockerignore"}},
	{name: "argument", change: func(s *whyScene) { s.replace("build.hcl", `"hello"`, `"bye"`) },
		want: []string{`\[made 2/5\] RUN echo \$GREETING > /greeting|\[made 2/5\] RUN echo bye`, "argument GREETING has changed\n    was hello\n    is  bye"}},
	{name: "secret argument", change: func(s *whyScene) { s.replace("build.hcl", "correct-horse-1", "correct-horse-2") },
		want: []string{`\[made 4/5\] RUN --mount=type=secret`, `argument API_TOKEN has changed\n    was \(hidden [0-9a-f]{4}\)\n    is  \(hidden`}, absent: "correct-horse"},
	{name: "variable", change: func(s *whyScene) { s.replace("Dockerfile", "COLOUR=red", "COLOUR=blue") }, want: []string{`\[made 2/5\] RUN echo`, "variable COLOUR has changed\n    was red\n    is  blue"}},
	{name: "instruction", change: func(s *whyScene) { s.replace("Dockerfile", "cat /greeting /src/*", "cat /src/* /greeting") },
		want: []string{`\[made 3/5\] RUN cat .*\(Dockerfile:7\) was the first step`, "the instruction has changed\n    was cat /greeting /src/\\* > /all\n    is  cat /src/\\* /greeting > /all"}},
	{name: "new instruction", change: func(s *whyScene) { s.replace("Dockerfile", "RUN cat", "RUN true\nRUN cat") }, want: []string{`\[made 3/6\] RUN true .*was the first step`, "the run before had no such step"}},
	{name: "setting", change: func(s *whyScene) { s.replace("Dockerfile", "RUN true", "RUN --network=none true") }, want: []string{"RUN --network=none true", "network is new: none"}},
	{name: "base image", change: (*whyScene).push, want: []string{`COPY --from=made /all /last / .*was the first step`, `image \S+/image:1 has changed\n    was \S+/image:1@sha256:[0-9a-f]{64}\n    is  \S+/image:1@sha256`}},
	{name: "parent", change: func(s *whyScene) { s.write("base/motd", "hi\n") },
		want: []string{`base \[stage-0 2/3\] COPY motd /motd \(base/Dockerfile:3\) was the first step`, "file motd has changed", "these were done again:", `base \[stage-0 3/3\] RUN`, `  \[made 1/6\] COPY src`}},
	{name: "secret", change: func(s *whyScene) { s.write("secret.txt", "good too\n") }, want: []string{"app was not rebuilt"}},
	{name: "no cache", build: "kiln build --no-cache", want: []string{"was the first step", "the cache was not to be used"}},
	{name: "failure", change: func(s *whyScene) { s.write("secret.txt", "bad\n"); s.replace("Dockerfile", "> /last", ">> /last") }, fails: true, want: []string{`RUN --mount=type=secret`, "the instruction has changed"}},
	{name: "after a failure", change: func(s *whyScene) { s.write("secret.txt", "good\n") }, want: []string{`RUN --mount=type=secret`, "the run before did not come to the end of it"}},
	{name: "cache lost", change: func(s *whyScene) {
		s.run("kiln engine stop --force")
		s.must(os.RemoveAll(filepath.Join(s.stateDir(), "engine")))
	}, want: []string{"was the first step", "nothing that it is made of has changed: the cache no longer has it"}},
}

// kiln says why a target was rebuilt, whatever the cause.
func TestWhyRebuilt(t *testing.T) {
	s := newWhyScene(t)
	for _, c := range whyCases {
		if c.change != nil {
			c.change(s)
		}
		build := c.build
		if build == "" {
			build = "kiln build"
		}
		out := s.run(build + " --progress=plain --allow fs.read=$BUSYBOX")
		if failed := strings.Contains(out, "exit status"); failed != c.fails {
			t.Fatalf("%s: the build failed: %v\n%s", c.name, failed, out)
		}
		s.says(c.name, "kiln why-rebuilt app", c.want, c.absent)
	}
	s.otherBuilder()
	s.asJSON()
	s.mistakes()
}

// says runs a command and looks for what it says, in that order.
func (s *whyScene) says(what, line string, want []string, absent string) {
	s.t.Helper()
	out := s.run(line)
	rest := out
	for _, w := range want {
		at := regexp.MustCompile(w).FindStringIndex(rest)
		if at == nil {
			s.t.Errorf("%s: kiln does not say %q there:\n%s", what, w, out)
			return
		}
		rest = rest[at[1]:]
	}
	if absent != "" && strings.Contains(out, absent) {
		s.t.Errorf("%s: kiln says %q:\n%s", what, absent, out)
	}
}

// otherBuilder builds with another daemon, which has another cache.
func (s *whyScene) otherBuilder() {
	daemon := engines(s.t, 1)[0].addr
	if out := s.run("kiln build --builder '" + daemon + "' --progress=plain --allow fs.read=$BUSYBOX"); strings.Contains(out, "exit status") {
		s.t.Fatalf("build elsewhere:\n%s", out)
	}
	s.says("other builder", "kiln why-rebuilt app", []string{"was the first step", "it was built elsewhere before, with another cache\n    was kiln\n    is  " + regexp.QuoteMeta(daemon)}, "")
}

// asJSON reads the answer as programs do, of two runs that are named.
func (s *whyScene) asJSON() {
	var list struct {
		Runs []struct {
			ID string `json:"id"`
		} `json:"runs"`
	}
	if err := json.Unmarshal([]byte(s.run("kiln report --list --format=json")), &list); err != nil || len(list.Runs) < 5 {
		s.t.Fatalf("%d runs: %v", len(list.Runs), err)
	}
	var why struct {
		Version     int
		Run, Before string
		Roots       []struct {
			Target string
			Causes []struct{ Kind string }
		}
	}
	newer, older := list.Runs[0].ID, list.Runs[1].ID
	if err := json.Unmarshal([]byte(s.run("kiln why-rebuilt app --json --run "+newer+" --run "+older)), &why); err != nil {
		s.t.Fatal(err)
	}
	if why.Version != 1 || why.Run != newer || why.Before != older || len(why.Roots) == 0 || why.Roots[0].Causes[0].Kind != "builder" {
		s.t.Errorf("kiln why-rebuilt --json: %+v", why)
	}
}

// mistakes are told, with what would help.
func (s *whyScene) mistakes() {
	for line, want := range map[string]string{
		"kiln why-rebuilt":                              `takes one target.*\nexit status 2`,
		"kiln why-rebuilt ap":                           `no recorded run has built ap \(did you mean "app"\?\)\nexit status 2`,
		"kiln why-rebuilt app --run 99":                 `--run 99: there are only \d+ runs.*\nexit status 2`,
		"kiln why-rebuilt app --run x":                  `--run x: no run has this ID.*\nexit status 2`,
		"kiln why-rebuilt app --run 1 --run 2 --run 3":  `--run is given 3 times.*\nexit status 2`,
		"kiln why-rebuilt other --run 1":                `run \S+ did not begin to build other\nexit status 2`,
		"KILN_STATE_DIR=$PWD/none kiln why-rebuilt app": `no run is recorded yet.*\nexit status 2`,
	} {
		if out := s.run(line); !regexp.MustCompile(want).MatchString(out) {
			s.t.Errorf("$ %s\n%s\nwant %s", line, out, want)
		}
	}
}
