package exec

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	errBoom  = errors.New("boom")
	errOther = errors.New("other")
)

// show writes outcomes as "app=built db=failed", with the cause of what was
// not built: "web=skipped(base/root)".
func show(out []Outcome) string {
	var s []string
	for _, o := range out {
		word := o.Node.Name() + "=" + o.Status.String()
		var skip *SkipError
		var stop *StopError
		switch {
		case errors.As(o.Err, &skip):
			word += "(" + skip.Need + "/" + skip.Root + ")"
		case errors.As(o.Err, &stop):
			word += "(" + stop.Failed + ")"
		case o.Status == Cancelled:
			word += "(" + fmt.Sprint(o.Err) + ")"
		}
		s = append(s, word)
	}
	return strings.Join(s, " ")
}

const hour = time.Hour

func failing(names ...string) map[string]error {
	m := map[string]error{}
	for _, n := range names {
		m[n] = errBoom
	}
	return m
}

func TestRun(t *testing.T) {
	const diamond = "base left:base right:base top:left,right alone"
	for _, tt := range []struct {
		name  string
		graph string
		set   func(*fake)
		o     Options
		want  string
		err   string
	}{
		{"all", diamond, nil, Options{},
			"base=built left=built right=built top=built alone=built", ""},
		{"nothing", "", nil, Options{}, "", ""},
		{"one at a time", diamond, nil, Options{Jobs: 1},
			"base=built left=built right=built top=built alone=built", ""},
		{"fail fast: dependents are skipped, the rest is cancelled", diamond,
			func(f *fake) { f.fails = failing("base"); f.slow = map[string]time.Duration{"alone": hour} }, Options{},
			"base=failed left=skipped(base/base) right=skipped(base/base) top=skipped(left/base) alone=cancelled(base)", "target base: boom"},
		{"fail fast: what is exported stays, what is only solved does not", "done held bad",
			func(f *fake) {
				f.fails = failing("bad")
				f.slow = map[string]time.Duration{"bad": 3 * time.Second}
				f.lag = map[string]time.Duration{"held": hour}
			}, Options{},
			"done=built held=cancelled(bad) bad=failed", "target bad: boom"},
		{"fail fast: a solve that ends well after the stop is not exported", "late bad reader:late",
			func(f *fake) {
				f.fails = failing("bad")
				f.slow = map[string]time.Duration{"late": time.Second}
				f.deaf = map[string]bool{"late": true}
			}, Options{},
			"late=cancelled(bad) bad=failed reader=cancelled(bad)", "target bad: boom"},
		{"fail fast: an export that ends well after the stop counts", "late bad",
			func(f *fake) {
				f.fails = failing("bad")
				f.slow = map[string]time.Duration{"bad": 500 * time.Millisecond}
				f.deaf = map[string]bool{"late": true}
			}, Options{},
			"late=built bad=failed", "target bad: boom"},
		{"fail fast: a command that failed by itself meanwhile is a failure too", "bad worse",
			func(f *fake) {
				f.fails = map[string]error{"bad": errBoom, "worse": &SourceError{File: "Dockerfile", StartLine: 3, ExitCode: 2, Err: errOther}}
				f.slow = map[string]time.Duration{"worse": time.Second}
				f.deaf = map[string]bool{"worse": true}
			}, Options{},
			"bad=failed worse=failed", "target bad: boom\ntarget worse: Dockerfile:3: other"},
		{"fail fast: a command that the stop killed is none", "bad killed",
			func(f *fake) {
				f.fails = map[string]error{"bad": errBoom, "killed": &SourceError{ExitCode: 137, Err: errOther}}
				f.slow = map[string]time.Duration{"killed": time.Second}
				f.deaf = map[string]bool{"killed": true}
			}, Options{},
			"bad=failed killed=cancelled(bad)", "target bad: boom"},
		{"keep going", diamond,
			func(f *fake) { f.fails = failing("left"); f.slow = map[string]time.Duration{"alone": hour} }, Options{Mode: KeepGoing},
			"base=built left=failed right=built top=skipped(left/left) alone=built", "target left: boom"},
		{"keep going: all failures are told, in order", "a b c:a",
			func(f *fake) {
				f.fails = failing("a", "b")
				f.slow = map[string]time.Duration{"a": hour}
			}, Options{Mode: KeepGoing},
			"a=failed b=failed c=skipped(a/a)", "target a: boom\ntarget b: boom"},
		{"keep going: a failed export does not matter to readers, but to those after it", "base reader:base after:>base far:after",
			func(f *fake) { f.unmoved = failing("base") }, Options{Mode: KeepGoing},
			"base=failed reader=built after=skipped(base/base) far=skipped(after/base)", "target base: boom"},
		{"defer output", "db app:>db lib web:lib", nil, Options{Mode: DeferOutput},
			"db=built app=built lib=built web=built", ""},
		{"defer output: a failure leaves nothing, and all failures are told", "a b c d:c e:>a f:e",
			func(f *fake) {
				f.fails = failing("b", "d")
				f.slow = map[string]time.Duration{"c": time.Minute}
			}, Options{Mode: DeferOutput},
			"a=cancelled(b) b=failed c=cancelled(b) d=failed e=cancelled(b) f=cancelled(b)", "target b: boom\ntarget d: boom"},
		{"defer output: a failed export", "a b",
			func(f *fake) { f.unmoved = failing("a"); f.lag = map[string]time.Duration{"b": hour} }, Options{Mode: DeferOutput},
			"a=failed b=built", "target a: boom"},
		{"read and awaited", "db app:db>db web:app>db top:web>app", nil, Options{Jobs: 1},
			"db=built app=built web=built top=built", ""},
		{"a panic is a failure", "a b",
			func(f *fake) { f.does = map[string]func(){"a": func() { panic("oh") }} }, Options{Mode: KeepGoing},
			"a=failed b=built", "target a: panic in the solver: oh"},
		{"an ended goroutine is a failure", "a",
			func(f *fake) { f.does = map[string]func(){"a": runtime.Goexit} }, Options{},
			"a=failed", "target a: the solver ended its goroutine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if tt.set != nil {
					tt.set(f)
				}
				rec := &recorder{ends: map[string]Status{}}
				tt.o.Sink = rec
				out, err := Run(t.Context(), parse(t, tt.graph), f, tt.o)
				if diff := cmp.Diff(tt.want, show(out)); diff != "" {
					t.Error(diff)
				}
				if got := withoutStack(err); got != tt.err {
					t.Errorf("error %q, want %q", got, tt.err)
				}
				f.check(t)
				checkEvents(t, rec, out)
			})
		})
	}
}

// withoutStack returns the text of err up to a goroutine's stack.
func withoutStack(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), "\ngoroutine ")
	return text
}

// checkEvents checks that every node is queued before anything else happens,
// and then has each of its events once and in order.
func checkEvents(t *testing.T, rec *recorder, out []Outcome) {
	t.Helper()
	for i, o := range out {
		name := o.Node.Name()
		if rec.events[i] != "queued "+name {
			t.Errorf("event %d is %q, want queued %s", i, rec.events[i], name)
		}
		want := []string{"queued"}
		if !o.Times.Started.IsZero() {
			want = append(want, "started")
		}
		if !o.Times.Solved.IsZero() {
			want = append(want, "solved")
		}
		want = append(want, "finished")
		var got []string
		for _, e := range rec.events {
			if kind, node, _ := strings.Cut(e, " "); node == name {
				got = append(got, kind)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if rec.ends[name] != o.Status {
			t.Errorf("%s: event says %v, outcome %v", name, rec.ends[name], o.Status)
		}
		if o.Status == Built && (o.Output.Digest != "sha256:"+name || o.Times.Finished.Before(o.Times.Solved)) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestRunInterrupted(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   time.Duration
		o    Options
		want string
		err  string
	}{
		{"before it begins", 0, Options{}, "a=cancelled(ctrl-c) b=cancelled(ctrl-c) c=cancelled(ctrl-c)", "ctrl-c"},
		{"while solving", 1500 * time.Millisecond, Options{}, "a=cancelled(ctrl-c) b=cancelled(ctrl-c) c=cancelled(ctrl-c)", "ctrl-c"},
		{"later", 2500 * time.Millisecond, Options{}, "a=built b=cancelled(ctrl-c) c=cancelled(ctrl-c)", "ctrl-c"},
		{"keep going", 2500 * time.Millisecond, Options{Mode: KeepGoing}, "a=built b=cancelled(ctrl-c) c=cancelled(ctrl-c)", "ctrl-c"},
		{"defer output", 2500 * time.Millisecond, Options{Mode: DeferOutput}, "a=cancelled(ctrl-c) b=cancelled(ctrl-c) c=cancelled(ctrl-c)", "ctrl-c"},
		{"after the end", hour, Options{}, "a=built b=built c=built", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				if tt.at == 0 {
					cancel(errors.New("ctrl-c"))
				}
				go func() { time.Sleep(tt.at); cancel(errors.New("ctrl-c")) }()
				f := newFake()
				out, err := Run(ctx, parse(t, "a b:a c:>b"), f, tt.o)
				if got := show(out); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				if got := withoutStack(err); got != tt.err {
					t.Errorf("error %q, want %q", got, tt.err)
				}
				f.check(t)
				time.Sleep(2 * hour) // until the bubble's own goroutine has ended
			})
		})
	}
}

// An interruption after a failure is told beside it.
func TestRunInterruptedAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("ctrl-c")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, why)
		defer cancel()
		f := newFake()
		f.fails = failing("a")
		f.slow = map[string]time.Duration{"b": hour}
		out, err := Run(ctx, parse(t, "a b"), f, Options{Mode: KeepGoing})
		if show(out) != "a=failed b=cancelled(ctrl-c)" || !errors.Is(err, why) || !errors.Is(err, errBoom) {
			t.Errorf("got %s, %v", show(out), err)
		}
	})
}

// With one job the order is fixed: who most wait for goes first.
func TestRunLongestChainFirst(t *testing.T) {
	for _, tt := range []struct{ graph, want string }{
		{"short long1 long2:long1 long3:long2", "+long1 +long2 +short +long3"},
		{"a b c", "+a +b +c"},
		{"leaf db app:>db top:app", "+db +app +leaf +top"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			if _, err := Run(t.Context(), parse(t, tt.graph), f, Options{Jobs: 1}); err != nil {
				t.Fatal(err)
			}
			var begun []string
			for _, l := range f.log {
				if l[0] == '+' {
					begun = append(begun, l)
				}
			}
			if got := strings.Join(begun, " "); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.graph, got, tt.want)
			}
			f.check(t)
		})
	}
}

// Independent nodes run side by side: the diamond with a tail takes as long
// as its longest chain.
func TestRunInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		began := time.Now()
		if _, err := Run(t.Context(), parse(t, "base left:base right:base top:left,right alone"), f, Options{}); err != nil {
			t.Fatal(err)
		}
		// Three solves on end and the last export.
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %v, want 4s", took)
		}
		want := []string{"=alone", "=base", ">alone", ">base", "=left", "=right"}
		got := slices.DeleteFunc(slices.Clone(f.log), func(s string) bool { return s[0] == '+' || s[0] == '-' })[:6]
		slices.Sort(got[:2])
		slices.Sort(got[2:6])
		slices.Sort(want[2:6])
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Output is deferred until the last solve of the stage; what comes after an
// export is of the next stage.
func TestRunDeferOutputOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.slow = map[string]time.Duration{"slow": time.Minute}
		if _, err := Run(t.Context(), parse(t, "slow db app:>db"), f, Options{Mode: DeferOutput, Jobs: 1}); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(slices.DeleteFunc(f.log, func(s string) bool { return s[0] == '-' }), " ")
		if want := "+db =db +slow =slow >db >slow +app =app >app"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// A panic while closing is told, though the node was built by then.
func TestRunPanicInClose(t *testing.T) {
	out, err := Run(t.Context(), parse(t, "a"), closePanics{}, Options{})
	if out[0].Status != Built || withoutStack(err) != "close target a: panic in the solver: oh" {
		t.Errorf("got %s, %v", show(out), err)
	}
}

// randomGraph returns a graph of up to 24 nodes with links of both kinds.
func randomGraph(t *testing.T, rnd *rand.Rand) string {
	t.Helper()
	var words []string
	n := 1 + rnd.IntN(24)
	for i := range n {
		var needs, after []string
		for j := range i {
			switch rnd.IntN(8) {
			case 0:
				needs = append(needs, fmt.Sprint("n", j))
			case 1:
				after = append(after, fmt.Sprint("n", j))
			}
		}
		words = append(words, fmt.Sprintf("n%d:%s>%s", i, strings.Join(needs, ","), strings.Join(after, ",")))
	}
	return strings.Join(words, " ")
}

// Random graphs in virtual time, in all modes, with and without failures and
// interruptions. A deadlock ends the bubble with a panic, as does a goroutine
// that is left.
func TestRunRandom(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		text := randomGraph(t, rnd)
		synctest.Test(t, func(t *testing.T) {
			g := parse(t, text)
			f := newFake()
			f.slow, f.lag = map[string]time.Duration{}, map[string]time.Duration{}
			f.fails, f.unmoved, f.deaf = map[string]error{}, map[string]error{}, map[string]bool{}
			fallible := seed%2 == 1
			for _, n := range g.Nodes() {
				f.slow[n.Name()] = time.Duration(rnd.IntN(5000)) * time.Millisecond
				f.lag[n.Name()] = time.Duration(rnd.IntN(5000)) * time.Millisecond
				f.deaf[n.Name()] = rnd.IntN(10) == 0
				if fallible && rnd.IntN(10) == 0 {
					f.fails[n.Name()] = errBoom
				}
				if fallible && rnd.IntN(20) == 0 {
					f.unmoved[n.Name()] = errOther
				}
			}
			rec := &recorder{ends: map[string]Status{}}
			o := Options{Jobs: rnd.IntN(5), Mode: Mode(rnd.IntN(3)), Sink: rec}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			interrupted := seed%5 == 4
			if interrupted {
				defer time.AfterFunc(time.Duration(rnd.IntN(20))*time.Second, cancel).Stop()
			}
			out, err := Run(ctx, g, f, o)
			f.check(t)
			checkEvents(t, rec, out)
			checkRandom(t, f, o, out)
			if err != nil && !fallible && !interrupted {
				t.Errorf("error %v", err)
			}
			if allBuilt(out) != (err == nil) {
				t.Errorf("error %v", err)
			}
			if t.Failed() {
				t.Fatalf("seed %d, %+v: %s\n%s", seed, o, text, show(out))
			}
		})
	}
}

func allBuilt(out []Outcome) bool {
	return !slices.ContainsFunc(out, func(o Outcome) bool { return o.Status != Built })
}

func checkRandom(t *testing.T, f *fake, o Options, out []Outcome) {
	t.Helper()
	if o.Jobs > 0 && f.most > o.Jobs {
		t.Errorf("%d at once, limit %d", f.most, o.Jobs)
	}
	for _, oc := range out {
		name := oc.Node.Name()
		if (oc.Status == Built) != f.export[name] {
			t.Errorf("%s is %v, exported %v", name, oc.Status, f.export[name])
		}
		if (oc.Err == nil) != (oc.Status == Built) {
			t.Errorf("%s is %v with error %v", name, oc.Status, oc.Err)
		}
		begun := slices.Contains(f.log, "+"+name)
		if oc.Status == Skipped && begun {
			t.Errorf("%s was skipped, but had begun", name)
		}
		if o.Mode == KeepGoing && oc.Status == Cancelled && !errors.Is(oc.Err, context.Canceled) {
			t.Errorf("%s is cancelled by %v", name, oc.Err)
		}
	}
}
