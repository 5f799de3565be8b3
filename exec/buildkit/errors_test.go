package buildkit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

func TestSourceErrors(t *testing.T) {
	tree := map[string]string{
		"sub/Dockerfile":     strings.Replace(busyboxLines, "scratch", "scratch AS build", 1) + "RUN echo first && \\\n    echo \"the end\" && \\\n    exit 7\nFROM build\n",
		"sub/plain":          busyboxLines + "RUN for i in $(seq 100); do echo line $i; done; false\n",
		"sub/parse":          "FROM scratch\nCOPYY a b\n",
		"sub/stage":          "FROM scratch\nCOPY --from=nowhere:1 a b\n",
		"sub/missing":        "FROM scratch AS one\nCOPY nosuch /\n",
		"sub/killed":         busyboxLines + "RUN sh -c 'kill -9 $$'; exit $?\n",
		"sub/base":           busyboxLines,
		"sub/empty":          "",
		"reader/Dockerfile":  "FROM base\nRUN exit 3\n",
		"sub/unused.txt":     "",
		"sub/frontend":       "# syntax=localhost:1/no/such:frontend\nFROM scratch\n",
		"sub/dup.Dockerfile": "FROM scratch AS a\nFROM scratch\nCOPY --from=a /x /y\n",
	}
	dir := files(t, t.TempDir(), tree)
	withBusybox(t, dir+"/sub")
	withBusybox(t, dir+"/reader")
	conn := dial(t, "")
	for _, tt := range []struct {
		name   string
		target config.Target
		want   exec.SourceError // but its Source
		log    string           // the end of the log
		text   string           // in the error
	}{
		{"run", config.Target{}, exec.SourceError{File: "sub/Dockerfile", StartLine: 5, EndLine: 7, Stage: "build", ExitCode: 7,
			Command: `echo first &&     echo "the end" &&     exit 7`}, "first\nthe end", "exit code: 7"},
		{"unnamed stage", config.Target{Dockerfile: "plain"}, exec.SourceError{File: "sub/plain", StartLine: 5, EndLine: 5, ExitCode: 1,
			Command: `for i in $(seq 100); do echo line $i; done; false`}, "line 99\nline 100", "exit code: 1"},
		{"parse", config.Target{Dockerfile: "parse"}, exec.SourceError{File: "sub/parse", StartLine: 2, EndLine: 2, ExitCode: -1}, "", "unknown instruction: COPYY"},
		{"image", config.Target{Dockerfile: "stage"}, exec.SourceError{File: "sub/stage", StartLine: 2, EndLine: 2, ExitCode: -1}, "", "nowhere:1"},
		{"copy", config.Target{Dockerfile: "missing"}, exec.SourceError{File: "sub/missing", StartLine: 2, EndLine: 2, Stage: "one", ExitCode: -1}, "", `"/nosuch": not found`},
		{"killed", config.Target{Dockerfile: "killed"}, exec.SourceError{File: "sub/killed", StartLine: 5, EndLine: 5, ExitCode: 137, Command: "sh -c 'kill -9 $$'; exit $?"}, "", "exit code: 137"},
		{"inline", config.Target{DockerfileInline: "FROM scratch\nNOT\n"}, exec.SourceError{File: "Dockerfile of app (inline)", StartLine: 2, EndLine: 2, ExitCode: -1}, "", "unknown instruction: NOT"},
	} {
		for _, frontend := range []bool{false, true} {
			name := tt.name
			if frontend {
				name += ", by the daemon's frontend"
			}
			t.Run(name, func(t *testing.T) {
				target := tt.target
				target.Name, target.Context, target.Outputs = "app", local("sub"), cacheOnly
				s := &session{dir: dir, conn: conn, targets: []*config.Target{&target}, opt: buildkit.Options{Frontend: frontend}}
				_, err := s.run(t, t.Context())
				var got *exec.SourceError
				if !errors.As(err, &got) {
					t.Fatalf("%T is no SourceError: %v", err, err)
				}
				if got.File != tt.want.File || got.StartLine != tt.want.StartLine || got.EndLine != tt.want.EndLine ||
					got.Stage != tt.want.Stage || got.ExitCode != tt.want.ExitCode || got.Command != tt.want.Command {
					t.Errorf("got %q line %d-%d stage %q exit %d command %q", got.File, got.StartLine, got.EndLine, got.Stage, got.ExitCode, got.Command)
				}
				if !strings.HasSuffix(string(got.Log), tt.log) {
					t.Errorf("log is %q, want the end %q", got.Log, tt.log)
				}
				if n := strings.Count(string(got.Log), "\n"); n > 40 {
					t.Errorf("the log has %d lines", n)
				}
				if !strings.Contains(got.Err.Error(), tt.text) {
					t.Errorf("error is %q, want %q in it", got.Err, tt.text)
				}
				source := tree["sub/"+target.Dockerfile]
				if target.Dockerfile == "" {
					source = tree["sub/Dockerfile"]
				}
				if target.DockerfileInline != "" {
					source = target.DockerfileInline
				}
				if string(got.Source) != source {
					t.Errorf("source is %q", got.Source)
				}
			})
		}
	}
}

// TestPlainErrors are those that have no place in a Dockerfile.
func TestPlainErrors(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", "file": "", "empty/Dockerfile": ""})
	conn := dial(t, "")
	for _, tt := range []struct {
		target config.Target
		want   string
	}{
		{config.Target{Context: local("nowhere")}, `the context "nowhere" does not exist`},
		{config.Target{Context: local("file")}, `the context "file" cannot be read`},
		{config.Target{Dockerfile: "other"}, `there is no Dockerfile at "other"; set "dockerfile" to where it is`},
		{config.Target{Context: local("empty")}, `the Dockerfile cannot be empty`},
		{config.Target{Contexts: []config.NamedSource{{Name: "x", From: local("nowhere")}}}, `the directory "nowhere" of the context "x" does not exist`},
		{config.Target{Contexts: []config.NamedSource{{Name: "x", From: config.Layout{Ref: "nowhere"}}}}, `context "x": ` + dir + `/nowhere is not an OCI layout`},
		{config.Target{Secrets: []config.Secret{{ID: "a", Src: "nowhere"}}}, `target app: secret "a": stat ` + dir + `/nowhere: no such file`},
		{config.Target{SSH: []config.SSH{{ID: "default"}}}, `ssh "default": there is no SSH agent: SSH_AUTH_SOCK is not set`},
		{config.Target{Stage: "nosuch"}, `target stage "nosuch" could not be found`},
		{config.Target{Platforms: []string{"bogus/bogus/bogus/bogus"}}, `"bogus/bogus/bogus/bogus" is not a platform`},
	} {
		target := tt.target
		target.Name, target.Outputs = "app", cacheOnly
		s := &session{dir: dir, conn: conn, targets: []*config.Target{&target}}
		_, err := s.run(t, t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error is %v\nwant %s", err, tt.want)
		}
	}
}

// TestOneFails checks that a failed target does not stop the others' solves.
func TestOneFails(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "ARG N\nRUN sleep 0.5; test $N != 3\n",
	}))
	s := &session{dir: dir, mode: exec.KeepGoing}
	for _, n := range []string{"1", "2", "3", "4"} {
		s.targets = append(s.targets, &config.Target{Name: "t" + n, Args: kv("N", n), Outputs: toDir("out" + n)})
	}
	out, err := s.run(t, t.Context())
	var src *exec.SourceError
	if !errors.As(err, &src) || src.StartLine != 6 {
		t.Errorf("error is %v", err)
	}
	for name, o := range out {
		want := exec.Built
		if name == "t3" {
			want = exec.Failed
		}
		if o.Status != want {
			t.Errorf("%s: %v, %v", name, o.Status, o.Err)
		}
	}
}
