package progress

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"github.com/hinshun/vt10x"

	"github.com/kilnbuild/kiln/exec"
)

func nothing(int) {}

// What a display writes in a mode, for the whole scene.
func TestDisplayGolden(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"plain", Options{Mode: Plain, Header: "builder: kiln engine, BuildKit v0.34.2"}},
		{"plain-color", Options{Mode: Plain, Color: true}},
		{"auto-is-plain", Options{Mode: Auto, Header: "builder: kiln engine, BuildKit v0.34.2"}},
		{"json", Options{Mode: JSON, Header: "builder: kiln engine, BuildKit v0.34.2"}},
		{"quiet", Options{Mode: Quiet, Header: "not shown"}},
		{"rawjson", Options{Mode: RawJSON, Header: "not shown"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out locked
				tt.o.Out = &out
				d := New(tt.o)
				if err := d.Finish(play(d, nothing)); err != nil {
					t.Fatal(err)
				}
				got := out.String()
				if tt.o.Mode == RawJSON && got != "" {
					t.Errorf("rawjson writes %q", got)
				}
				name := tt.name
				if name == "auto-is-plain" {
					name = "plain"
				}
				golden(t, name, got)
			})
		})
	}
}

// Frames at several sizes, at the three looks of the scene. None is larger
// than its screen.
func TestFrameGolden(t *testing.T) {
	for _, size := range []struct{ w, h int }{{80, 24}, {40, 8}, {100, 4}, {20, 3}, {8, 2}, {3, 1}, {1, 1}} {
		t.Run(fmt.Sprintf("%dx%d", size.w, size.h), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(time.Now())
				var got strings.Builder
				play(sinkOf(m), func(n int) {
					fmt.Fprintf(&got, "-- %d\n", n)
					lines := frame{m: m, now: time.Now(), width: size.w, height: size.h}.lines()
					if len(lines) > size.h {
						t.Errorf("%d lines", len(lines))
					}
					for _, l := range lines {
						if w := ansi.StringWidth(l); w > size.w {
							t.Errorf("%d columns: %q", w, l)
						}
						got.WriteString(l + "\n")
					}
				})
				golden(t, fmt.Sprintf("frame-%dx%d", size.w, size.h), got.String())
			})
		})
	}
}

// sinkOf gives events to a model directly.
type modelSink struct{ m *model }

func sinkOf(m *model) exec.Sink        { return modelSink{m} }
func (s modelSink) Event(e exec.Event) { s.m.event(e) }

// A terminal is a screen of a fixed size. It begins with the cursor at the
// bottom, below a full screen of older output.
type terminal struct {
	vt10x.Terminal
	wrote int
}

func newTerminal(width, height int) *terminal {
	term := &terminal{Terminal: vt10x.New(vt10x.WithSize(width, height))}
	for i := range height - 1 {
		fmt.Fprintf(term.Terminal, "old%d\r\n", i)
	}
	return term
}

func (term *terminal) Write(p []byte) (int, error) {
	term.wrote++
	return term.Terminal.Write(p)
}

// rows returns what is on the screen, without blanks at the ends of lines.
func (term *terminal) rows() []string {
	var out []string
	for row := range strings.SplitSeq(strings.TrimSuffix(term.String(), "\n"), "\n") {
		out = append(out, strings.TrimRight(row, " \x00"))
	}
	return out
}

// A screenSink draws a frame after every event, and looks at the terminal.
type screenSink struct {
	t    *testing.T
	s    *screen
	term *terminal
}

func (k *screenSink) Event(e exec.Event) {
	k.s.take(item{event: &e})
	fmt.Fprint(k.term, k.s.text(true))
	k.check()
}

// The display keeps what was on the screen before it as far as there is room,
// never scrolls more than its largest frame needs, draws every frame in the
// same place and leaves nothing of it behind.
func TestTTYOnTerminal(t *testing.T) {
	for _, size := range []struct{ w, h int }{{80, 24}, {40, 10}, {30, 5}, {12, 3}} {
		t.Run(fmt.Sprintf("%dx%d", size.w, size.h), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{Width: func() int { return size.w }, Height: func() int { return size.h }}
				k := &screenSink{t, &screen{o: o, model: newModel(time.Now())}, newTerminal(size.w, size.h)}
				k.s.take(item{note: "builder: x"})
				outcomes := play(k, nothing)
				k.s.take(item{end: true, outcomes: outcomes})
				fmt.Fprint(k.term, k.s.text(false))
				last := strings.Join(k.term.rows(), "\n")
				if strings.Contains(last, "waiting:") || strings.Contains(last, "done:") {
					t.Errorf("a frame is left behind:\n%s", last)
				}
				if size.w == 80 && !strings.Contains(last, "error: api: services/api/Dockerfile:4: make all: exit code 2") {
					t.Errorf("the root cause is not on the last screen:\n%s", last)
				}
				if c := k.term.Cursor(); c.X != 0 || k.term.rows()[c.Y] != "" {
					t.Errorf("the cursor is at %d, %d in %q", c.X, c.Y, k.term.rows()[c.Y])
				}
			})
		})
	}
}

// check compares the bottom of the screen with the frame.
func (k *screenSink) check() {
	k.t.Helper()
	rows, shown, cursor := k.term.rows(), k.s.shown, k.term.Cursor()
	if len(shown) == 0 || len(shown) > len(rows)-1 {
		k.t.Errorf("the frame has %d rows on a screen of %d", len(shown), len(rows))
	}
	if cursor.X != 0 || rows[cursor.Y] != "" || !k.term.CursorVisible() {
		k.t.Errorf("the cursor is at %d, %d in %q", cursor.X, cursor.Y, rows[cursor.Y])
	}
	heads := 0
	for _, r := range rows {
		if strings.Contains(r, "targets done") {
			heads++
		}
	}
	if heads > 1 {
		k.t.Errorf("%d frames on the screen:\n%s", heads, strings.Join(rows, "\n"))
	}
	top := cursor.Y - len(shown)
	if top > 0 && rows[top-1] != "builder: x" {
		k.t.Errorf("above the frame is %q, want the header:\n%s", rows[top-1], strings.Join(rows, "\n"))
	}
	if diff := cmp.Diff(shown, rows[top:cursor.Y]); diff != "" {
		k.t.Errorf("on the screen is not the frame: %s", diff)
	}
}

// A terminal that became narrower has broken the lines of the last frame; the
// next one goes over all of them, and writes every line anew.
func TestTTYResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		width, height := 80, 24
		m := newModel(time.Now())
		s := &screen{o: Options{Width: func() int { return width }, Height: func() int { return height }}, model: m}
		sc := newScene(sinkOf(m), "a", "b")
		sc.start("a")
		sc.step("a", strings.Repeat("x", 200))
		begin := ansi.SetModeSynchronizedOutput + "\r"
		clear := ansi.EraseEntireLine + ansi.CursorDown(1) + ansi.EraseScreenBelow + ansi.CursorUp(1)
		if got := s.draw(time.Now()); !strings.HasPrefix(got, begin+noWrap+"0.0s") {
			t.Errorf("the first frame moves: %q", got)
		}
		// Three lines: the headline and "waiting: b" have room in a row of 40, or need two; the row of 79 columns needs two.
		width = 40
		if got := s.draw(time.Now()); !strings.HasPrefix(got, begin+ansi.CursorUp(5)+clear+noWrap+"0.0s") {
			t.Errorf("after the resize: %q", got)
		}
		width = 80
		if got := s.draw(time.Now()); !strings.HasPrefix(got, begin+ansi.CursorUp(3)+clear+noWrap+"0.0s") {
			t.Errorf("after the second resize: %q", got)
		}
		// Of three rows and the cursor's, two have room: the others go off, and
		// come back when there is room again.
		height = 2
		if got := s.draw(time.Now()); !strings.HasPrefix(got, begin+ansi.CursorUp(3)+clear+noWrap+"0.0s") || len(s.shown) != 1 {
			t.Errorf("of two rows: %q", got)
		}
		height = 3
		if got := s.draw(time.Now()); !strings.HasPrefix(got, begin+ansi.CursorUp(1+1)+clear+noWrap+"0.0s") || len(s.shown) != 2 {
			t.Errorf("of three rows: %q", got)
		}
		height = 24
		if got := s.draw(time.Now()); !strings.HasPrefix(got, begin+ansi.CursorUp(2+1)+clear+noWrap+"0.0s") || len(s.shown) != 3 {
			t.Errorf("of many rows again: %q", got)
		}
	})
}

// Of a frame, only the lines are written that changed; of the same frame,
// nothing.
func TestTTYWritesWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(time.Now())
		s := &screen{model: m}
		sc := newScene(sinkOf(m), "a", "b", "c", "d")
		for _, n := range []string{"a", "b", "c"} {
			sc.start(n)
			second(20)
		}
		s.draw(time.Now())
		if got := s.draw(time.Now()); got != "" {
			t.Errorf("the same again: %q", got)
		}
		second(0.1)
		if got := s.draw(time.Now()); got != "" {
			t.Errorf("no second later: %q", got)
		}
		sc.step("a", "[1/1] RUN make")
		got := s.draw(time.Now())
		want := ansi.SetModeSynchronizedOutput + "\r" + ansi.CursorUp(5) + noWrap + ansi.CursorDown(1) + s.shown[1] + ansi.EraseLineRight + "\r\n" + ansi.CursorDown(3) + wrap + ansi.ResetModeSynchronizedOutput
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// The cursor's look is left alone, and nothing is asked of the terminal: an
// answer would end up in the shell's input.
func TestTTYChangesNothingForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Out: &out, Mode: Auto, Terminal: true, Color: true})
		play(d, func(int) { second(1) })
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		for _, seq := range []string{ansi.HideCursor, "\x1b[?1049h", "\x1b[6n", "\x1b[c", "\x1b[>", "$p", "\x1b7", "\x1b[s", "\x1b[?25", "\x1b[?1000h", "\x1b[?2004h"} {
			if strings.Contains(got, seq) {
				t.Errorf("writes %q", seq)
			}
		}
		if a, b := strings.Count(got, ansi.SetModeSynchronizedOutput), strings.Count(got, ansi.ResetModeSynchronizedOutput); a != b || a == 0 {
			t.Errorf("%d updates begin, %d end", a, b)
		}
		if a, b := strings.Count(got, noWrap), strings.Count(got, wrap); a != b || a == 0 {
			t.Errorf("wrapping is put off %d times, on %d times", a, b)
		}
		if !strings.Contains(got, "not built:") {
			t.Error("the last frame is not there after Close")
		}
	})
}

// The summary is written over a frame that begins on the first line of the
// screen; clearing the screen first would keep that frame in the history of
// some terminals.
func TestTTYClearsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Out: &out, Mode: TTY, Width: func() int { return 30 }})
		outcomes := play(d, func(int) { second(1) })
		before := len(out.String())
		if err := d.Finish(outcomes); err != nil {
			t.Fatal(err)
		}
		last := out.String()[before:]
		if i, j := strings.Index(last, ansi.EraseScreenBelow), strings.LastIndex(last, "\n"); i < j || strings.Count(last, ansi.EraseScreenBelow) != 1 {
			t.Errorf("the screen is cleared at %d, the last line ends at %d", i, j)
		}
	})
}

// About ten frames a second, however many events there are.
func TestTTYRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := newTerminal(80, 24)
		d := New(Options{Out: term, Mode: TTY})
		s := newScene(d, "a")
		s.start("a")
		s.step("a", "[1/1] RUN x")
		for range 1000 {
			second(0.001)
			s.log("a", "[1/1] RUN x", "line\n")
		}
		synctest.Wait()
		if term.wrote < 9 || term.wrote > 11 {
			t.Errorf("%d frames in a second", term.wrote)
		}
		d.Close()
	})
}

// An output that takes nothing does not hold up who sends events.
func TestBlockedOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		d := New(Options{Out: w, Mode: Plain})
		began := time.Now()
		play(d, nothing)
		for i := range 1000 {
			d.Event(exec.Event{Node: "api", Kind: exec.Log, Log: fmt.Appendf(nil, "line %d\n", i)})
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the scene took %v", took)
		}
		go func() { _ = d.Close(); w.Close() }()
		all, err := io.ReadAll(r)
		if err != nil || strings.Count(string(all), "api | line ") != 1000 {
			t.Errorf("%d lines arrived, %v", strings.Count(string(all), "api | line "), err)
		}
	})
}

// A broken output is told and ends nothing; what comes after the end is
// dropped.
func TestBrokenOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		r.CloseWithError(errBroken)
		d := New(Options{Out: w, Mode: Plain, Header: "x"})
		if err := d.Finish(play(d, nothing)); !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
		if err := d.Close(); !errors.Is(err, errBroken) {
			t.Errorf("second: %v", err)
		}
		d.Event(exec.Event{Node: "late", Kind: exec.Queued})
		d.Note("late")
	})
}

var errBroken = errors.New("broken pipe")

func TestFinishOfNothingAndSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name, want string
			mode       Mode
			n          int
		}{
			{"no targets", "\nnothing to build\n", Plain, 0},
			{"quiet success", "", Quiet, 2},
		} {
			var out locked
			d := New(Options{Out: &out, Mode: tt.mode})
			s := newScene(d, []string{"a", "b"}[:tt.n]...)
			if s.outcomes == nil {
				s.outcomes = []exec.Outcome{}
			}
			for _, o := range s.outcomes {
				s.start(o.Node.Name())
				s.finish(o.Node.Name(), exec.Built, nil)
			}
			if err := d.Finish(s.outcomes); err != nil || out.String() != tt.want {
				t.Errorf("%s: got %q, %v, want %q", tt.name, out.String(), err, tt.want)
			}
		}
	})
}

// Many failures of other kinds: no place, a panic's stack, a place without a
// command, an interruption.
func TestSummaryGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Out: &out, Mode: Plain})
		s := newScene(d, "net", "parse", "killed", "long", "panics", "stopped", "good")
		for _, o := range s.outcomes {
			s.start(o.Node.Name())
		}
		second(61)
		s.step("panics", "[1/1] RUN NPM_TOKEN=hunter2 npm ci")
		s.step("net", "[1/1] FROM registry.example/x")
		s.log("net", "[1/1] FROM registry.example/x", "retrying")
		s.step("net", "[1/1] FROM registry.example/x", failed("dial tcp: refused\nsecond line"))
		s.finish("net", exec.Failed, errors.New("resolve https://me:hunter2@registry.example/x: connection refused"))
		s.finish("parse", exec.Failed, &exec.SourceError{File: "Dockerfile", StartLine: 2, EndLine: 2, Source: []byte(dockerfile), ExitCode: -1, Err: errors.New("unknown instruction: WORDKIR (did you mean WORKDIR?)")})
		s.finish("killed", exec.Failed, &exec.SourceError{File: "Dockerfile", StartLine: 4, EndLine: 4, Source: []byte(dockerfile), Command: "API_TOKEN=hunter2 make all", ExitCode: -1, Err: errors.New("killed by signal 9")})
		s.finish("long", exec.Failed, &exec.SourceError{File: "Dockerfile", StartLine: 4, EndLine: 4, Source: []byte(dockerfile), Stage: "build", Command: "make     one two three four five six seven eight nine ten eleven twelve thirteen fourteen", ExitCode: 1, Err: errors.New("exit code: 1")})
		s.finish("panics", exec.Failed, fmt.Errorf("panic in the solver: oh\n%s", strings.Repeat("a frame\n\tof the stack\n", 50)))
		s.finish("stopped", exec.Cancelled, errors.New("interrupted"))
		s.finish("good", exec.Built, nil, "store: good\x1b[2J\n")
		if err := d.Finish(s.outcomes); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if strings.Contains(got, "hunter2") || strings.Contains(got, "\x1b") {
			t.Error("shows what it must not")
		}
		golden(t, "summary", got)
	})
}

// 200 targets and 100,000 lines of log take little time.
func BenchmarkTTY(b *testing.B) { benchmark(b, TTY) }

func BenchmarkPlain(b *testing.B) { benchmark(b, Plain) }

func benchmark(b *testing.B, mode Mode) {
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("target-%d", i))
	}
	for b.Loop() {
		d := New(Options{Out: io.Discard, Mode: mode, Color: true})
		s := newScene(d, names...)
		for _, n := range names {
			s.start(n)
			for i := range 10 {
				step := fmt.Sprintf("[%d/10] RUN x", i)
				s.step(n, step)
				for range 50 {
					s.log(n, step, "a line of log with \x1b[32mcolour\x1b[0m in it, of usual length\n")
				}
				s.step(n, step, done)
			}
			s.finish(n, exec.Built, nil)
		}
		if err := d.Finish(s.outcomes); err != nil {
			b.Fatal(err)
		}
	}
}

// A target whose steps all wait tells which of them is next, in the order of
// the Dockerfile.
func TestNextStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(time.Now())
		s := newScene(sinkOf(m), "a")
		s.start("a")
		look := func() string { return frame{m: m, now: time.Now(), width: 60, height: 5}.lines()[1] }
		if got := look(); !strings.HasPrefix(got, "  a  preparing ") {
			t.Error(got)
		}
		for _, line := range []int{5, 3, 4} {
			s.step("a", fmt.Sprintf("[%d/5] RUN x", line), func(v *exec.Vertex) { v.Line, v.Started = line, time.Time{} })
		}
		if got := look(); !strings.HasPrefix(got, "  a  next: [3/5] RUN x ") {
			t.Error(got)
		}
		s.step("a", "[3/5] RUN x", func(v *exec.Vertex) { v.Started = time.Now() }, done)
		if got := look(); !strings.HasPrefix(got, "  a  next: [4/5] RUN x ") {
			t.Error(got)
		}
	})
}

// What a step moves is told with its way, its total where that is known, and
// how fast it was of late.
func TestTransfers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(time.Now())
		s := newScene(sinkOf(m), "up", "down", "out")
		for _, n := range []string{"up", "down", "out"} {
			s.start(n)
		}
		part := func(name string, current, total int64, done bool) func(*exec.Vertex) {
			return func(v *exec.Vertex) { v.Part, v.Current, v.Total, v.PartDone = name, current, total, done }
		}
		for i := range int64(10) {
			s.step("up", "[internal] load build context", internal, part("transferring app:", i*3e6, 0, false))
			s.step("down", "[1/2] FROM node:22", part("sha256:aa", i*1e6, 20e6, false))
			s.step("down", "[1/2] FROM node:22", part("sha256:bb", i*2e6, 40e6, false))
			s.step("out", "exporting to image", part("pushing layers", 0, 0, false))
			second(0.5)
		}
		s.step("down", "[1/2] FROM node:22", part("sha256:cc", 5e6, 5e6, false))
		s.step("down", "[1/2] FROM node:22", part("sha256:cc", 0, 0, true)) // an end without bytes
		got := frame{m: m, now: time.Now(), width: 100, height: 5}.lines()
		want := []string{
			"5.0s 0 of 3 targets done, 3 building sent 27MB, pulled 32MB",
			"up [internal] load build context sent 27MB 4MB/s 5.0s",
			"down [1/2] FROM node:22 pulled 32MB/65MB 10MB/s 5.0s",
			"out exporting to image: pushing layers 5.0s",
		}
		for i, l := range got {
			if ansi.StringWidth(l) != 100 {
				t.Errorf("%d columns: %q", ansi.StringWidth(l), l)
			}
			got[i] = strings.Join(strings.Fields(l), " ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		second(60)
		if got := (frame{m: m, now: time.Now(), width: 100, height: 5}).lines()[1]; !strings.Contains(got, "  sent 27MB  1m05s") {
			t.Errorf("a transfer that stands still: %q", got)
		}
		if got := (frame{m: m, now: time.Now(), width: 60, height: 5}).lines()[2]; !strings.Contains(got, "32MB/65MB  1m05s") {
			t.Errorf("where there is less room: %q", got)
		}
	})
}

func TestParseMode(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Mode
		err  string
	}{
		{"", Auto, ""},
		{"auto", Auto, ""},
		{"tty", TTY, ""},
		{"rawjson", RawJSON, ""},
		{"plane", "", `unknown progress mode "plane" (did you mean "plain"?): use auto, ci, json, plain, quiet, rawjson or tty`},
		{"fancyfancyfancy", "", `unknown progress mode "fancyfancyfancy": use auto, ci, json, plain, quiet, rawjson or tty`},
	} {
		got, err := ParseMode(tt.in)
		if got != tt.want || fmt.Sprint(err) != tt.err && (err != nil || tt.err != "") {
			t.Errorf("%q: got %q, %v", tt.in, got, err)
		}
	}
}

// Of many targets that were begun, those have a row that the builder works at.
func TestWorkComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(time.Now())
		s := &screen{model: m}
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("t%02d", i))
		}
		sc := newScene(sinkOf(m), names...)
		for _, n := range names {
			sc.start(n)
			sc.step(n, "[1/3] FROM base", cached)
			sc.step(n, "[2/3] RUN make", func(v *exec.Vertex) { v.Started, v.Line = time.Time{}, 2 })
		}
		sc.step("t77", "[2/3] RUN make", func(v *exec.Vertex) { v.Started = time.Now() })
		sc.step("t55", "[2/3] RUN make", func(v *exec.Vertex) { v.Started = time.Now() })
		sc.step("t55", "[2/3] RUN make", done) // between two steps
		rows := strings.Split(ansi.Strip(s.draw(time.Now())), "\r\n")
		for i, want := range []string{"  t55  preparing", "  t77  [2/3] RUN make", "  t00  next: [2/3] RUN make"} {
			if !strings.HasPrefix(rows[i+1], want) {
				t.Errorf("row %d is %q, want %q", i+1, rows[i+1], want)
			}
		}
	})
}
