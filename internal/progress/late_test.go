package progress

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/exec"
)

// A builder's result overtakes the last of what it says of the steps: of one
// that was there, one that runs yet, and one that was not heard of at all.
func playLate(d *Display) []exec.Outcome {
	s := newScene(d, "half", "unheard", "image")
	s.start("half")
	s.step("half", "[1/2] COPY a /", cached)
	s.step("half", "[2/2] RUN make")
	s.finish("half", exec.Built, nil)
	s.start("unheard")
	s.finish("unheard", exec.Built, nil)
	s.start("image")
	s.finish("image", exec.Built, nil) // of which there is nothing to hear
	second(0.1)
	s.log("half", "[2/2] RUN make", "last line\n")
	s.step("half", "[2/2] RUN make", done)
	s.step("unheard", "[1/1] COPY b /", cached)
	second(1)
	s.log("half", "[2/2] RUN make", "far too late\n")
	return s.outcomes
}

func TestLastWords(t *testing.T) {
	for mode, want := range map[Mode]string{
		Plain: `half | #1 CACHED [1/2] COPY a /
half | #2 [2/2] RUN make
half | #2 last line
half | #2 done 0.1s
half | built in 0.0s DIGEST
unheard | #1 CACHED [1/1] COPY b /
unheard | cached in 0.0s DIGEST
image | built in 0.0s DIGEST
half | #2 far too late
`,
		CI: `half: built in 0.0s, 1 of 2 steps cached
  #1 CACHED [1/2] COPY a /
  #2 [2/2] RUN make
  #2 last line
  #2 done 0.1s
  built in 0.0s DIGEST
unheard: cached in 0.0s, 1 of 1 steps cached
  #1 CACHED [1/1] COPY b /
  cached in 0.0s DIGEST
image: built in 0.0s
half | #2 far too late
`,
	} {
		synctest.Test(t, func(t *testing.T) {
			var out locked
			d := New(Options{Mode: mode, Out: &out})
			if err := d.Finish(playLate(d)); err != nil {
				t.Fatal(err)
			}
			got, _, _ := strings.Cut(out.String(), "\nTARGET")
			got = strings.ReplaceAll(got, "sha256:"+strings.Repeat("0123456789abcdef", 4), "DIGEST")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", mode, diff)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Mode: JSON, Out: &out})
		if err := d.Finish(playLate(d)); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.Contains(got, `"target":"half","status":"built","digest"`) || !strings.Contains(got, `"steps":2,"stepsCached":1`) || !strings.Contains(got, `"target":"unheard","status":"built","cached":true`) {
			t.Errorf("the ends of half and unheard are not told as they were:\n%s", got)
		}
	})
}

// What was held back of a target that came to no end is written all the same.
func TestFoldsOfTheUnended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		d := New(Options{Mode: CI, Out: &out})
		s := newScene(d, "a", "b")
		s.start("a")
		s.step("a", "[1/1] RUN x")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("a: not ended\n  #1 [1/1] RUN x\n", out.String()); diff != "" {
			t.Error(diff)
		}
	})
}
