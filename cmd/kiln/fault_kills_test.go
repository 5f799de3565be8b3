package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// hundred are 100 targets: a base, three that run a step on it, and 96
// that copy from those. What they make depends on nothing but the definition,
// whatever ROUND is, so that steps can be made to run again.
const hundred = `
variable "BUSYBOX" {}
variable "ROUND" { default = "0" }
group "default" { targets = ["leaf"] }
target "base" {
  contexts          = { bin = BUSYBOX }
  dockerfile-inline = "FROM scratch\nCOPY --from=bin busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n"
}
target "work" {
  name              = "work-${n}"
  matrix            = { n = ["1", "2", "3"] }
  contexts          = { base = "target:base" }
  args              = { ROUND = ROUND, N = n }
  dockerfile-inline = <<EOT
FROM base
ARG ROUND
ARG N
RUN : $ROUND; mkdir /made; for i in 0 1 2 3 4 5 6 7; do for k in a b c d; do echo $N $i $k > /made/$i$k; touch -d @1 /made/$i$k; done; done
EOT
}
target "leaf" {
  name     = "leaf-${n}-${i}${k}"
  matrix   = {
    n = ["1", "2", "3"]
    i = ["0", "1", "2", "3", "4", "5", "6", "7"]
    k = ["a", "b", "c", "d"]
  }
  contexts          = { work = "target:work-${n}" }
  args              = { I = "${i}${k}", SOURCE_DATE_EPOCH = "1" }
  tags              = ["leaf:${n}-${i}${k}"]
  dockerfile-inline = "FROM scratch\nARG I\nCOPY --from=work /made/$${I} /\n"
}
`

// After a kill at any moment, of kiln or of its engine, the next build makes
// what an undisturbed one makes, and nothing is left of the killed one.
func TestRandomKills(t *testing.T) {
	const kills = 20
	s := newShell(t)
	s.env = append(s.env, "BUSYBOX="+filepath.Dir(testenv.Busybox(t)))
	s.write("build.hcl", hundred)
	want := s.buildHundred("ROUND=0")
	if len(want) != 96 {
		t.Fatalf("%d targets were built, want 96", len(want))
	}
	images := filepath.Join(s.stateDir(), "images")
	if err := os.RemoveAll(images); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.buildHundred("ROUND=again") // with the engine and the base there, as those that are killed
	took := time.Since(began)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("an undisturbed build took %v; seed %d", took, seed)
	for round := 1; round <= kills; round++ {
		victim := []string{"kiln", "engine"}[round%2]
		after := time.Duration(random.Int64N(int64(took)))
		if err := os.RemoveAll(images); err != nil {
			t.Fatal(err)
		}
		s.killHundred(round, victim, after)
		got := s.buildHundred(fmt.Sprintf("ROUND=%d", round))
		if !maps.Equal(got, want) {
			t.Fatalf("round %d: %s was killed after %v (seed %d), and the next build made other images:\n%v\nwant\n%v", round, victim, after, seed, got, want)
		}
		if stored := s.wholeStore(); len(stored) != 96 {
			t.Errorf("round %d: the store has %d images", round, len(stored))
		}
		if left := s.ingests(); len(left) > 0 {
			t.Errorf("round %d: half written blobs are left: %v", round, left)
		}
	}
	s.run("kiln engine stop --force")
	if left := mounts(t, s.stateDir()); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
	for _, pattern := range []string{"engine/runc-*/executor/*", "engine/tmp/*", "images/.kiln-tmp-*", "engine/*.new"} {
		if left, err := filepath.Glob(filepath.Join(s.stateDir(), pattern)); err != nil || len(left) > 0 {
			t.Errorf("%s is left: %v, %v", pattern, left, err)
		}
	}
	if left := s.containers(); len(left) > 0 {
		t.Errorf("containers are left: %v", left)
	}
}

// killHundred begins the build and kills the victim after a time.
func (s *shell) killHundred(round int, victim string, after time.Duration) {
	s.t.Helper()
	kiln, _ := s.find("kiln")
	c := osexec.Command(kiln, "build", "--allow", "fs.read=*", "--progress=quiet")
	c.Dir, c.Env = s.dir, append(slices.Clone(s.env), fmt.Sprintf("ROUND=%d", round))
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(after)
	if victim == "kiln" {
		_ = c.Process.Kill() // it may have ended
	} else if pid := s.runningEngine(); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = c.Wait() // how it ended is not the question
}

// runningEngine is the process of the engine; 0 if it does not run.
func (s *shell) runningEngine() int {
	var status struct {
		PID int `json:"pid"`
	}
	_ = json.Unmarshal([]byte(s.run("kiln engine status --json")), &status) // 0, then
	return status.PID
}

// buildHundred builds and returns the digests, by target.
func (s *shell) buildHundred(env string) map[string]string {
	s.t.Helper()
	out := s.run(env + " kiln build --allow 'fs.read=*' --progress=quiet --json 2>err || cat err")
	digests := map[string]string{}
	for line := range strings.Lines(out) {
		var r struct{ Target, Digest string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatalf("%v\n%s", err, out)
		}
		if r.Target != "" {
			digests[r.Target] = r.Digest
		}
	}
	return digests
}

// containers lists what the runtime still knows of the scene's engine.
func (s *shell) containers() []string {
	runtime, _ := s.lookup("KILN_RUNTIME")
	out, err := osexec.Command(runtime, "list", "--format", "json").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	var all []struct{ ID, Bundle string }
	if err := json.Unmarshal(out, &all); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	var left []string
	for _, c := range all {
		if strings.HasPrefix(c.Bundle, s.stateDir()) {
			left = append(left, c.ID)
		}
	}
	return left
}
