package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/report"
	"github.com/kilnbuild/kiln/internal/runs"
)

var began = time.Date(2026, 11, 23, 13, 15, 2, 0, time.UTC)

func at(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second)))
}

// step makes a step that ran from one second to another.
func step(digest, name string, from, to float64) *runs.Step {
	return &runs.Step{Digest: digest, Name: name, File: "Dockerfile", Line: 3, Started: at(from), Ended: at(to)}
}

func target(name string, from, to float64, steps ...*runs.Step) *runs.Target {
	return &runs.Target{
		Name: name, Status: "built", Steps: steps,
		Times: runs.Times{Queued: at(0), Started: at(from), Solved: at(to), Finished: at(to)},
	}
}

// reads makes the recipe of a step.
func reads(digest, target string, inputs ...string) exec.Recipe {
	r := exec.Recipe{Digest: digest, Kind: exec.RecipeRun, Targets: []string{target}}
	for _, in := range inputs {
		r.Inputs = append(r.Inputs, exec.RecipeInput{Step: in})
	}
	return r
}

// sample is a run with something of everything: base, which api and web need,
// a failure, and what that made be skipped.
func sample() *runs.Run {
	base := target("base", 0, 4, &runs.Step{Digest: "s", Name: "[internal] load build context", Internal: true, Started: at(0), Ended: at(1), Sent: 2_500_000}, step("b1", "[1/1] RUN apt-get install", 1, 4))
	base.Steps[1].Pulled = 31_000_000
	api := target("api", 4, 14, step("a1", "[build 1/2] RUN make | tee log", 4, 12), step("a2", "[build 2/2] RUN strip", 12, 14))
	api.Needs, api.Digest, api.Refs = []string{"base"}, "sha256:"+strings.Repeat("1", 64), []string{"registry.example/api:1"}
	api.Exporting, api.Finished = at(14), at(15)
	api.Requested, api.Warnings = true, []string{"JSONArgsRecommended: use JSON"}
	docs := target("docs", 0, 0.5, &runs.Step{Digest: "d1", Name: "[1/1] COPY docs /", Cached: true, Started: at(0.4), Ended: at(0.4)})
	docs.Cached = true
	web := target("web", 4, 6, step("w1", "[1/1] RUN npm ci", 4, 6))
	code := 2
	web.Needs, web.Status, web.Solved = []string{"base"}, "failed", time.Time{}
	web.Steps[0].Error = "exit code: 2"
	web.Failure = &runs.Failure{Text: "Dockerfile:3: exit code: 2", File: "Dockerfile", Line: 3, EndLine: 3, Command: "npm ci", ExitCode: &code, Log: "npm <ERR> & more\n]]> ```"}
	site := &runs.Target{Name: "site", Status: "skipped", Needs: []string{"web"}, Times: runs.Times{Queued: at(0), Finished: at(6)}, Failure: &runs.Failure{Text: "needs web, which was not built", Need: "web", Root: "web"}}
	return &runs.Run{
		Version: 1, ID: "20261123-131502-000abc", Kiln: "v1", Definition: "/src/shop", Dir: "/src/shop", Commit: strings.Repeat("c", 40), Args: []string{"build", "-k", "api site"}, Builders: []string{"kiln"},
		Status: "failed", Started: began, Ended: at(15.5), Targets: []*runs.Target{base, api, docs, web, site},
		Recipes: []exec.Recipe{reads("s", "base"), reads("b1", "base", "s"), reads("a1", "api", "b1"), reads("a2", "api", "a1"), reads("w1", "web", "b1"), reads("d1", "docs")},
	}
}

// earlier is the run before.
func earlier() *runs.Run {
	r := sample()
	r.ID, r.Status, r.Started, r.Ended = "20261123-120000-000abc", "built", began.Add(-time.Hour), began.Add(-time.Hour+10*time.Second)
	r.Targets[1].Finished = at(8)
	r.Targets[3].Status, r.Targets[3].Failure = "built", nil
	r.Targets[4].Name = "old"
	return r
}

// Goldens: KILN_UPDATE=1 writes them anew.
func TestGoldens(t *testing.T) {
	r := report.New(sample(), earlier())
	for name, write := range map[string]func(io.Writer) error{
		"report.txt": r.WriteText, "report.json": r.WriteJSON, "report.xml": r.WriteJUnit,
		"report.md":  func(w io.Writer) error { return r.WriteMarkdown(w, 1<<20) },
		"trace.json": func(w io.Writer) error { return report.WriteTrace(w, r.Run) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		// Times of day are those of the machine.
		got := strings.ReplaceAll(b.String(), began.Local().Format("Mon 2 Jan 2006 15:04:05"), "Mon 23 Nov 2026 13:15:02")
		path := filepath.Join("testdata", name)
		if os.Getenv("KILN_UPDATE") == "1" {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// pathOf is the critical path in one line: "base:b1(3+0=2)" took 3 seconds,
// after waiting for 0, and would save 2.
func pathOf(r *runs.Run) string {
	var parts []string
	for _, p := range report.New(r, nil).Critical.Path {
		name := p.Digest
		if name == "" {
			name = p.Step
		}
		slot := ""
		if p.Slot {
			slot = "s"
		}
		parts = append(parts, fmt.Sprintf("%s:%s(%g+%g%s=%g)", p.Target, name, p.Seconds, p.Wait, slot, p.Saves))
	}
	return strings.Join(parts, " ")
}

// stopped is a target whose second step was going on when it was cancelled.
func stopped() *runs.Target {
	t := target("a", 0, 3, step("x", "[1/2] RUN x", 0, 1), step("y", "[2/2] RUN y", 1, 3))
	t.Status, t.Solved, t.Steps[1].Ended = "cancelled", time.Time{}, time.Time{}
	return t
}

// It is among the slowest, and in a trace, too.
func TestStopped(t *testing.T) {
	r := &runs.Run{Started: began, Ended: at(3), Status: "cancelled", Targets: []*runs.Target{stopped()}}
	if s := report.New(r, nil).Slowest; len(s) != 2 || s[0].Digest != "y" || s[0].Seconds != 2 {
		t.Errorf("slowest: %+v", s)
	}
	var b bytes.Buffer
	if err := report.WriteTrace(&b, r); err != nil || !strings.Contains(b.String(), `"name":"[2/2] RUN y","cat":"step","ph":"X","ts":1000000,"dur":2000000`) {
		t.Errorf("trace: %v\n%s", err, &b)
	}
}

func TestCriticalPath(t *testing.T) {
	for _, c := range []struct {
		name string
		run  *runs.Run
		want string
	}{
		{"nothing", &runs.Run{Started: began, Ended: at(1)}, ""},
		{"sample", sample(), "base:s(1+0=1) base:b1(3+0=3) api:a1(8+0=8) api:a2(2+0=2) api:export(1+0=1)"},
		{ // Two ways of 5 and 4 seconds: without the longer, the other is left.
			"two ways", &runs.Run{Started: began, Ended: at(6), Targets: []*runs.Target{
				target("app", 0, 6, step("x", "[a 1/1] RUN x", 0, 5), step("y", "[b 1/1] RUN y", 0, 4), step("z", "[c 1/1] COPY", 5, 6)),
			}, Recipes: []exec.Recipe{reads("x", "app"), reads("y", "app"), reads("z", "app", "x", "y")}},
			"app:x(5+0=1) app:z(1+0=1)",
		},
		{ // Of steps of which nothing is known, one is after the other.
			"no recipes", &runs.Run{Started: began, Ended: at(3), Targets: []*runs.Target{target("app", 0, 3, step("x", "[1/2] RUN x", 0, 2), step("y", "[2/2] RUN y", 2, 3))}},
			"app:x(2+0=2) app:y(1+0=1)",
		},
		{ // -j 1: two targets that have nothing to do with each other.
			"jobs", &runs.Run{Jobs: 1, Started: began, Ended: at(5), Targets: []*runs.Target{target("a", 0, 3, step("x", "[1/1] RUN x", 0, 3)), target("b", 3, 5, step("y", "[1/1] RUN y", 3, 5))}},
			"a:x(3+0=3) b:y(2+0s=2)",
		},
		{ // The builder does one step at once.
			"builder", &runs.Run{Started: began, Ended: at(5), Targets: []*runs.Target{target("a", 0, 3, step("x", "[1/1] RUN x", 0, 3)), target("b", 0, 5, step("y", "[1/1] RUN y", 3, 5))}},
			"a:x(3+0=3) b:y(2+0s=2)",
		},
		{ // What was going on when the run was stopped is what it waited for.
			"stopped", &runs.Run{Started: began, Ended: at(3), Status: "cancelled", Targets: []*runs.Target{stopped()}},
			"a:x(1+0=1) a:y(2+0=2)",
		},
		{ // A step that two targets share is told of one, and holds up both.
			"shared", &runs.Run{Started: began, Ended: at(5), Targets: []*runs.Target{target("a", 0, 3, step("x", "[1/1] RUN x", 0, 3)), target("b", 0, 5, step("y", "[2/2] RUN y", 3, 5))},
				Recipes: []exec.Recipe{{Digest: "x", Targets: []string{"a", "b"}}, reads("y", "b", "x")}},
			"a:x(3+0=3) b:y(2+0=2)",
		},
	} {
		if got := pathOf(c.run); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// What is said to be saved is what a run without the step takes.
func TestSavingsAddUp(t *testing.T) {
	r := sample()
	for _, p := range report.New(r, nil).Critical.Path {
		if p.Saves > p.Seconds || p.Saves < 0 {
			t.Errorf("%s %s takes %v and saves %v", p.Target, p.Step, p.Seconds, p.Saves)
		}
	}
}

func TestJUnitIsRead(t *testing.T) {
	var b bytes.Buffer
	if err := report.New(sample(), nil).WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Suite struct {
			Cases []struct {
				Name    string  `xml:"name,attr"`
				Time    float64 `xml:"time,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	var text struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	if err := xml.Unmarshal(b.Bytes(), &text); err != nil || text.Tests != 5 || text.Failures != 1 || text.Skipped != 1 {
		t.Errorf("counts: %+v, %v", text, err)
	}
	cases := got.Suite.Cases
	if len(cases) != 5 || cases[1].Time != 11 || cases[3].Failure == nil || cases[4].Skipped == nil {
		t.Fatalf("cases: %+v", cases)
	}
	if f := cases[3].Failure; f.Message != "Dockerfile:3: exit code: 2" || !strings.Contains(f.Text, "npm <ERR> & more\n]]>") {
		t.Errorf("the failure: %+v", f)
	}
}

// A trace holds to the format: every event has what its phase asks for, and
// those of one thread hold each other or follow each other.
func TestTraceFormat(t *testing.T) {
	r := sample()
	for i := range 40 { // steps that overlap in every way
		from := float64(i%7) / 2
		r.Targets[0].Steps = append(r.Targets[0].Steps, step(fmt.Sprint("n", i), "[x] RUN", from, from+float64(i%5)))
	}
	var b bytes.Buffer
	if err := report.WriteTrace(&b, r); err != nil {
		t.Fatal(err)
	}
	var f struct {
		TraceEvents []struct {
			Name     string `json:"name"`
			Ph       string `json:"ph"`
			Ts, Dur  *int64
			Pid, Tid *int
			Args     map[string]any
		}
		DisplayTimeUnit string
	}
	if err := json.Unmarshal(b.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	type span struct{ from, to int64 }
	threads := map[string][]span{}
	named := map[int]bool{}
	for _, e := range f.TraceEvents {
		if e.Name == "" || e.Pid == nil || e.Tid == nil || e.Ts == nil {
			t.Fatalf("an event lacks something: %+v", e)
		}
		switch e.Ph {
		case "M":
			if e.Name == "process_name" {
				named[*e.Pid] = e.Args["name"] != ""
			}
		case "X":
			if e.Dur == nil || *e.Dur < 0 || *e.Ts < 0 {
				t.Fatalf("an event has no time: %+v", e)
			}
			s := span{*e.Ts, *e.Ts + *e.Dur}
			thread := fmt.Sprint(*e.Pid, "/", *e.Tid)
			for _, o := range threads[thread] {
				apart := o.to <= s.from || s.to <= o.from
				within := o.from <= s.from && s.to <= o.to || s.from <= o.from && o.to <= s.to
				if !apart && !within {
					t.Errorf("thread %s: %v and %v overlap", thread, o, s)
				}
			}
			threads[thread] = append(threads[thread], s)
			if !named[*e.Pid] {
				t.Errorf("process %d has no name", *e.Pid)
			}
		default:
			t.Errorf("phase %q", e.Ph)
		}
	}
	if f.DisplayTimeUnit != "ms" || len(threads) < 5 {
		t.Errorf("%d threads", len(threads))
	}
}

// large is a run of n targets.
func large(n int) *runs.Run {
	r := sample()
	for i := range n {
		from := float64(i%50) / 10
		t := target(fmt.Sprintf("target-%04d", i), from, from+2+float64(i%9),
			step(fmt.Sprint("c", i), "[1/3] COPY . /src", from, from+0.5), step(fmt.Sprint("r", i), "[2/3] RUN make -j", from+0.5, from+2), step(fmt.Sprint("t", i), "[3/3] RUN make test", from+2, from+2+float64(i%9)))
		t.Steps[0].Cached = i%3 == 0
		r.Targets = append(r.Targets, t)
	}
	return r
}

// GitHub takes a mebibyte and no more; what does not fit is left out, the
// failed targets last.
func TestMarkdownFits(t *testing.T) {
	r := report.New(large(3000), nil)
	for _, most := range []int{0, 60, 500, 3000, 20_000, 1 << 20} {
		var b bytes.Buffer
		if err := r.WriteMarkdown(&b, most); err != nil {
			t.Fatal(err)
		}
		if b.Len() > most {
			t.Errorf("%d bytes of %d", b.Len(), most)
		}
		if most >= 3000 && !strings.Contains(b.String(), "web") {
			t.Errorf("in %d bytes the failure is not told:\n%s", most, &b)
		}
	}
}

// Names that mean something in Markdown stay text.
func TestMarkdownEscapes(t *testing.T) {
	r := sample()
	r.Targets[3].Name = "a|b*c_d<img>@me`"
	r.Targets[3].Failure.Text = "```\n<script>"
	var b bytes.Buffer
	if err := report.New(r, nil).WriteMarkdown(&b, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`a\|b\*c\_d&lt;img&gt;&#64;me` + "\\`", "````text\n```\n<script>"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// A report of many targets is made soon: every activity is looked at a few
// times, not each with each.
func TestManyTargets(t *testing.T) {
	r := large(5000)
	r.Jobs = 8
	rep := report.New(r, large(5000))
	if rep.Summary.Targets != 5005 || len(rep.Critical.Path) == 0 || !slices.IsSortedFunc(rep.Slowest, func(a, b report.StepTime) int { return int(1000 * (b.Seconds - a.Seconds)) }) {
		t.Errorf("%+v", rep.Summary)
	}
}

// A long command does not tear the tables of a terminal apart.
func TestTextCutsNames(t *testing.T) {
	r := sample()
	r.Targets[1].Steps[0].Name = "[build 1/2] RUN " + strings.Repeat("é", 300)
	var b bytes.Buffer
	if err := report.New(r, nil).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), strings.Repeat("é", 60)) || !strings.Contains(b.String(), "é…") {
		t.Errorf("a long name is not cut:\n%s", &b)
	}
}
