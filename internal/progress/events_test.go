package progress

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
)

// What happens seldom: silence, retries, warnings with a place, notes, a
// failure that is no step's.
func playTroubles(d *Display) []exec.Outcome {
	s := newScene(d, "base", "app", "docs", "api", "web", "e2e")
	d.Note("interrupted: stopping")
	s.start("base")
	s.step("base", "[build 2/5] RUN make", func(v *exec.Vertex) { v.File, v.Line = "base/Dockerfile", 7 })
	second(300)
	s.send(exec.Event{Node: "base", Kind: exec.Silent, Vertex: &exec.Vertex{Digest: "sha256:[build 2/5] RUN make", Name: "[build 2/5] RUN make"}, Silence: &exec.Silence{
		Doing: "running make API_TOKEN=abcdef (base/Dockerfile:7)", Since: time.Now().Add(-5 * time.Minute), For: 5 * time.Minute, Holds: []string{"app", "api", "web", "e2e"},
	}})
	s.start("docs")
	s.send(exec.Event{Node: "docs", Kind: exec.Silent, Silence: &exec.Silence{Doing: "waiting for the builder", Since: time.Now(), For: 1500 * time.Millisecond}})
	s.send(exec.Event{Node: "docs", Kind: exec.Retrying, Retry: &exec.Retry{Number: 1, Of: 2, After: time.Second, Export: true, Cause: "registry.example answered 503"}})
	s.send(exec.Event{Node: "docs", Kind: exec.Warning, Vertex: &exec.Vertex{Digest: "sha256:x"}, Log: []byte("docs/Dockerfile: WorkdirRelativePath: \x1b[1mrelative"), Caution: &exec.Caution{
		Level: 1, Detail: []string{"why"}, URL: "https://docs.example/rule", File: "docs/Dockerfile", Ranges: []exec.SourceRange{{StartLine: 3, EndLine: 4}},
	}})
	s.step("docs", "exporting", func(v *exec.Vertex) { v.Part, v.Current, v.Total, v.PartDone = "pushing layers", 5, 5, true })
	s.finish("docs", exec.Failed, errors.New("push: denied\nsecond line"))
	s.finish("base", exec.Cancelled, &exec.StopError{Failed: "docs"})
	return s.outcomes
}

func TestTroublesGolden(t *testing.T) {
	for _, mode := range []Mode{JSON, Plain} {
		synctest.Test(t, func(t *testing.T) {
			var out locked
			d := New(Options{Mode: mode, Out: &out, Header: "kiln's own engine"})
			if err := d.Finish(playTroubles(d)); err != nil {
				t.Fatal(err)
			}
			golden(t, "troubles-"+string(mode), out.String())
		})
	}
}

// With several builders it is told where a target is built, also when it
// moves to another.
func TestBuildersGolden(t *testing.T) {
	for _, mode := range []Mode{JSON, Plain} {
		synctest.Test(t, func(t *testing.T) {
			var out locked
			d := New(Options{Mode: mode, Out: &out, Header: "2 builders"})
			s := newScene(d, "base", "app", "docs")
			placed := func(node, builder string, platforms ...string) {
				s.send(exec.Event{Node: node, Kind: exec.Placed, Builder: builder, Platforms: platforms})
			}
			s.start("base")
			placed("base", "tcp://b:1", "linux/arm64")
			placed("base", "tcp://a:1", "linux/amd64")
			s.finish("base", exec.Built, nil)
			s.start("app")
			placed("app", "tcp://b:1")
			s.send(exec.Event{Node: "app", Kind: exec.Warning, Log: []byte("builder tcp://b:1 was lost: it died\napp is now on tcp://a:1")})
			placed("app", "tcp://a:1")
			s.finish("app", exec.Failed, errors.New("no such file"))
			s.finish("docs", exec.Cancelled, &exec.StopError{Failed: "app"})
			if err := d.Finish(s.outcomes); err != nil {
				t.Fatal(err)
			}
			golden(t, "builders-"+string(mode), out.String())
		})
	}
}

// A run that could not begin has an end, too.
func TestEventsWithoutOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Mode: JSON, Out: &out})
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.Contains(got, `"event":"end"`) || !strings.Contains(got, `"status":"failed","targets":0`) {
			t.Error(got)
		}
	})
}

// While a step is silent its row says so, until something is heard of it.
func TestSilentRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(time.Now())
		s := newScene(sinkOf(m), "a", "b")
		s.start("a")
		s.start("b")
		s.step("a", "[1/1] RUN x")
		look := func() string {
			return strings.Join(frame{m: m, now: time.Now(), width: 100, height: 10}.lines(), "\n")
		}
		second(60)
		silence := &exec.Silence{Doing: "running x", Since: m.began, For: time.Minute}
		s.send(exec.Event{Node: "a", Kind: exec.Silent, Vertex: &exec.Vertex{Digest: "sha256:[1/1] RUN x"}, Silence: silence})
		s.send(exec.Event{Node: "b", Kind: exec.Silent, Silence: &exec.Silence{Doing: "waiting for the builder", Since: m.began}})
		second(5)
		if got := look(); !strings.Contains(got, "a  silent for 1m05s: running x") || !strings.Contains(got, "b  silent for 1m05s: waiting for the builder") {
			t.Error(got)
		}
		s.send(exec.Event{Node: "b", Kind: exec.Retrying, Retry: &exec.Retry{Number: 1, Of: 2, After: 2 * time.Second, Cause: "a registry answered 503"}})
		if got := look(); !strings.Contains(got, "b  trying again in 2.0s (1 of 2): a registry answered 503") {
			t.Error(got)
		}
		s.log("a", "[1/1] RUN x", "y\n")
		s.step("b", "[1/2] COPY . .")
		if got := look(); strings.Contains(got, "silent") || strings.Contains(got, "again") {
			t.Error(got)
		}
	})
}

// What is silent and belongs to no target is told above the rows.
func TestSilenceOfTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &screen{model: newModel(time.Now())}
		for _, node := range []string{"a", ""} {
			s.take(item{event: &exec.Event{Node: node, Kind: exec.Queued}})
			s.take(item{event: &exec.Event{Node: node, Kind: exec.Silent, Vertex: &exec.Vertex{Digest: "sha256:x"}, Silence: &exec.Silence{Doing: "reading cache from x", For: time.Minute}}})
		}
		if diff := cmp.Diff([]string{"silent for 1m00s: reading cache from x"}, s.above); diff != "" {
			t.Error(diff)
		}
	})
}

// Every line is an object by itself that begins with the version, and its
// times never go back.
func TestEventsAreLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Mode: JSON, Out: &out, Header: "x"})
		d.Finish(play(d, nothing))
		var last time.Time
		lines := bufio.NewScanner(strings.NewReader(out.String()))
		for lines.Scan() {
			var head eventHead
			if err := json.Unmarshal(lines.Bytes(), &head); err != nil || !bytes.HasPrefix(lines.Bytes(), []byte(`{"version":1,"event":"`)) {
				t.Errorf("%v: %s", err, lines.Text())
			}
			if head.Time.Before(last) {
				t.Errorf("time goes back: %s", lines.Text())
			}
			last = head.Time
		}
	})
}

// documented are the objects of docs/json.md by their headings.
var documented = map[string]any{
	"Every event": eventHead{}, "begin": beginEvent{}, "queued, started, solved": eventHead{}, "note": noteEvent{},
	"vertex": vertexEvent{}, "log": logEvent{}, "warning": warningEvent{}, "silent": silentEvent{}, "placed": placedEvent{}, "retry": retryEvent{},
	"finished": finishedEvent{}, "finished: error": failureEvent{}, "end": endEvent{},
}

// docs/json.md lists the fields of every event, in their order, with their
// types. What all events have is told once.
func TestEventsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	for heading, object := range documented {
		_, section, ok := strings.Cut(string(text), "\n### "+heading+"\n")
		if !ok {
			t.Errorf("docs/json.md has no heading %q", heading)
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		var got []string
		for line := range strings.Lines(section) {
			if cells := strings.Split(line, "|"); len(cells) > 3 && strings.Contains(cells[1], "`") {
				got = append(got, strings.Trim(cells[1], " `")+" "+strings.TrimSpace(cells[2]))
			}
		}
		if diff := cmp.Diff(fieldsOf(reflect.TypeOf(object), heading == "Every event"), got); diff != "" {
			t.Errorf("%s: %s", heading, diff)
		}
	}
	for _, kind := range []exec.EventKind{exec.Queued, exec.Started, exec.VertexKind, exec.Log, exec.Warning, exec.Silent, exec.Placed, exec.Retrying, exec.Solved, exec.Finished} {
		if !strings.Contains(string(text), string(kind)) {
			t.Errorf("the event %q is not in docs/json.md", kind)
		}
	}
}

// fieldsOf lists names and types of an object's fields.
func fieldsOf(typ reflect.Type, head bool) []string {
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous || typ == reflect.TypeFor[eventHead]() && !head {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, name+" "+typeName(f.Type))
	}
	return out
}

func typeName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case t.Kind() == reflect.Slice:
		return typeName(t.Elem()) + "s"
	case t.Kind() == reflect.Struct:
		return "object"
	case t.Kind() == reflect.Int64 || t.Kind() == reflect.Int:
		return "integer"
	case t.Kind() == reflect.Float64:
		return "number"
	case t.Kind() == reflect.Bool:
		return "boolean"
	}
	return fmt.Sprint(t.Kind())
}
