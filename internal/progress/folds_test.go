package progress

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
)

// unstable are the parts of a CI service's log that differ from run to run.
// Signs of life come at the same moments as what the scenes do then.
var unstable = regexp.MustCompile(`(?m)stop-commands::[A-Z0-9]{26}|^::[A-Z0-9]{26}::$|^[0-9ms]+  \d+ of \d+ targets done.*\n`)

func stable(text string) string {
	return unstable.ReplaceAllStringFunc(text, func(s string) string {
		switch {
		case strings.HasPrefix(s, "stop"):
			return "stop-commands::TOKEN"
		case strings.HasPrefix(s, "::"):
			return "::TOKEN::"
		}
		return ""
	})
}

// What CI services get, for the whole scene, and for one with hostile logs.
func TestFoldsGolden(t *testing.T) {
	for _, service := range []Service{"", GitHub, GitLab} {
		for name, scene := range map[string]func(*Display) []exec.Outcome{
			"play":     func(d *Display) []exec.Outcome { return play(d, nothing) },
			"troubles": playTroubles,
			"hostile":  playHostile,
			"one":      playOne,
		} {
			t.Run(name+"-"+string(service), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var out locked
					place := func(file string) string { return "repo/" + file }
					d := New(Options{Mode: CI, Out: &out, Service: service, Header: "kiln's own engine", Place: place})
					if err := d.Finish(scene(d)); err != nil {
						t.Fatal(err)
					}
					got := stable(out.String())
					golden(t, strings.TrimSuffix("ci-"+name+"-"+string(service), "-"), got)
					if service == GitHub {
						if diff := cmp.Diff([]string(nil), believed(out.String())); diff != "" {
							t.Errorf("commands of logs count: %s", diff)
						}
					}
				})
			})
		}
	}
}

// believed does as GitHub's runner does, and returns the commands that are not
// kiln's.
func believed(log string) []string {
	var out []string
	stop := ""
	for line := range strings.Lines(log) {
		line = strings.TrimSuffix(line, "\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case stop != "":
			if trimmed == "::"+stop+"::" {
				stop = ""
			}
		case strings.HasPrefix(trimmed, "::stop-commands::"):
			stop = strings.TrimPrefix(trimmed, "::stop-commands::")
		case strings.HasPrefix(trimmed, "::group::"), trimmed == "::endgroup::",
			strings.HasPrefix(trimmed, "::error file=repo/"), strings.HasPrefix(trimmed, "::error title="),
			strings.HasPrefix(trimmed, "::warning file=repo/"), strings.HasPrefix(trimmed, "::warning title="):
		case strings.HasPrefix(trimmed, "::"), strings.Contains(line, "##["):
			out = append(out, line)
		}
	}
	if stop != "" {
		out = append(out, "commands are stopped for good")
	}
	return out
}

// A run whose logs, names and errors try to be something else.
func playHostile(d *Display) []exec.Outcome {
	s := newScene(d, "a", "b")
	s.start("a")
	s.start("b")
	s.step("a", "[1/2] RUN make")
	s.log("a", "[1/2] RUN make", "::add-mask::kiln\n  ::set-env name=PATH::/evil\n##[error]not mine\n::endgroup::\n")
	s.step("b", "[1/1] RUN cc")
	s.log("b", "[1/1] RUN cc", "std::string is only C++\n\x1b[0Ksection_end:1:kiln_1_a\r\x1b[0K\n")
	s.log("a", "[1/2] RUN make", "::stop-commands::mine\n::mine::\n::set-output name=x::y\n")
	s.log("b", "", "::from no step\n")
	s.send(exec.Event{Node: "", Kind: exec.Log, Log: []byte("::warning::of the run\n")})
	d.Note("::note")
	s.step("a", "[1/2] RUN make", failed("::error::100%, a: b"))
	s.send(exec.Event{Node: "b", Kind: exec.Warning, Log: []byte("one % thing\n::debug::two"), Caution: &exec.Caution{File: "dir,with:signs%/Dockerfile", Ranges: []exec.SourceRange{{StartLine: 3, EndLine: 2}}}})
	s.finish("a", exec.Failed, errors.New("::error::100%, a: b\n::more"))
	s.finish("b", exec.Built, nil)
	return s.outcomes
}

// A run of one target.
func playOne(d *Display) []exec.Outcome {
	s := newScene(d, "app")
	s.start("app")
	s.step("app", "[1/1] RUN make", func(v *exec.Vertex) { v.File, v.Line = "Dockerfile", 2 })
	s.log("app", "[1/1] RUN make", "first\nsecond\n")
	second(2)
	s.step("app", "[1/1] RUN make", done)
	s.finish("app", exec.Built, nil, "app:1")
	return s.outcomes
}

// The lines of targets that are built at once do not mix, and nothing is
// lost, however much there is.
func TestFoldsDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Mode: CI, Out: &out, Service: GitHub})
		s := newScene(d, "a", "b", "c")
		for _, n := range []string{"a", "b", "c"} {
			s.start(n)
			s.step(n, "[1/1] RUN x")
		}
		line := strings.Repeat("x", 100)
		for i := range 12_000 {
			for _, n := range []string{"a", "b", "c"} {
				s.log(n, "[1/1] RUN x", fmt.Sprintf("%s %d %s\n", n, i, line))
			}
		}
		for _, n := range []string{"a", "b", "c"} {
			s.finish(n, exec.Built, nil)
		}
		if err := d.Finish(s.outcomes); err != nil {
			t.Fatal(err)
		}
		in, next, parts := "", map[string]int{}, 0
		for l := range strings.Lines(out.String()) {
			if title, ok := strings.CutPrefix(l, "::group::"); ok {
				if in != "" {
					t.Fatalf("%q begins in the fold of %s", l, in)
				}
				in, _, _ = strings.Cut(title, ":")
				parts++
			}
			if l == "::endgroup::\n" {
				in = ""
			}
			if !strings.Contains(l, line) {
				continue
			}
			if want := fmt.Sprintf("#1 %s %d %s\n", in, next[in], line); l != want {
				t.Fatalf("got %.20q, want %.20q", l, want)
			}
			next[in]++
		}
		for _, n := range []string{"a", "b", "c"} {
			if next[n] != 12_000 {
				t.Errorf("%d lines of %s", next[n], n)
			}
		}
		if parts < 5 {
			t.Errorf("%d folds for what is several times larger than one", parts)
		}
	})
}

// While targets build for long, it is told what goes on, and not more often
// than needed.
func TestSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Mode: CI, Out: &out})
		s := newScene(d, "a", "b", "c", "d", "e", "f")
		for i, n := range []string{"a", "b", "c", "d"} {
			s.start(n)
			s.step(n, fmt.Sprintf("[%d/4] RUN make", i))
		}
		second(95)
		s.finish("a", exec.Built, nil)
		second(1)
		synctest.Wait()
		got := out.String()
		want := []string{"30s", "1m00s", "1m30s"}
		for i, l := range strings.Split(strings.TrimSuffix(got, "\n"), "\n") {
			if i < len(want) && !strings.HasPrefix(l, want[i]+"  0 of 6 targets done, 4 building, 2 waiting; a: [0/4] RUN make (") {
				t.Errorf("line %d is %q", i, l)
			}
			if i == 0 && !strings.HasSuffix(l, "; c: [2/4] RUN make (30.0s); … and 1 more") {
				t.Errorf("line %d is %q", i, l)
			}
		}
		if n := strings.Count(got, "\n"); n != 4+2 { // and the fold of a, of a title and two lines
			t.Errorf("%d lines:\n%s", n, got)
		}
		d.Close()
	})
}

// A run that ends without a word to tell closes what it opened.
func TestFoldsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Mode: CI, Out: &out, Service: GitHub})
		s := newScene(d, "a")
		s.start("a")
		s.step("a", "[1/1] RUN x")
		time.Sleep(time.Second)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("::group::a\n#1 [1/1] RUN x\n::endgroup::\n", out.String()); diff != "" {
			t.Error(diff)
		}
	})
}
