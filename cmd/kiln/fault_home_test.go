package main

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where kiln cannot keep what it has to keep, it says so, with exit code 3;
// where it can do without, it does.
func TestPlacesThatAreNotThere(t *testing.T) {
	s := newShell(t)
	s.write("build.hcl", "target \"default\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY build.hcl /\\n\"\n  output = [\"type=cacheonly\"]\n}\n")
	ro := filepath.Join(s.dir, "ro")
	disk(t, ro, 1)
	remount(t, ro, unix.MS_RDONLY, "")
	s.write("file", "no directory\n")
	for _, tt := range []struct {
		name string
		env  []string // NAME= unsets
		want string   // in the output of a build that fails; "" is one that succeeds
		code int      // 0 is 3, if it fails
	}{
		{"state is read-only", []string{"KILN_STATE_DIR=" + ro + "/state"}, "read-only file system", 0},
		{"state is a file", []string{"KILN_STATE_DIR=" + s.dir + "/file"}, "not a directory", 0},
		{"runtime directory is read-only", []string{"KILN_STATE_DIR=" + s.dir + "/state-2", "KILN_RUNTIME_DIR=" + ro + "/run"}, "read-only file system", 0},
		{"no home, no state", []string{"HOME=", "KILN_STATE_DIR=", "XDG_STATE_HOME="}, "KILN_STATE_DIR", 0},
		{"no home", []string{"HOME="}, "", 0},
		{"home is read-only", []string{"HOME=" + ro}, "", 0},
		{"home is not there", []string{"HOME=/nowhere"}, "", 0},
		{"temporary directory is not there", []string{"TMPDIR=/nowhere"}, "", 0},
		{"temporary directory is read-only", []string{"TMPDIR=" + ro}, "", 0},
		{"no temporary directory, in process", []string{"TMPDIR=/nowhere", "KILN_ENGINE=in-process", "KILN_STATE_DIR=" + s.dir + "/state-3"}, "", 0},
		{"docker configuration is a file", []string{"DOCKER_CONFIG=" + s.dir + "/file"}, "read the registry credentials", 2},
		{"no path", []string{"PATH=/nowhere"}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.code == 0 && tt.want != "" {
				tt.code = 3
			}
			out, code := s.kilnWith(tt.env, "build", "--progress=plain")
			if code != tt.code || !strings.Contains(out, tt.want) || strings.Contains(out, "ERROR: ") != (code != 0) {
				t.Errorf("exit code %d, want %d, and %q:\n%s", code, tt.code, tt.want, out)
			}
		})
	}
}

// kilnWith runs kiln with changes to the environment.
func (s *shell) kilnWith(changes []string, args ...string) (out string, code int) {
	s.t.Helper()
	kiln, _ := s.find("kiln")
	env := slices.DeleteFunc(slices.Clone(s.env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(changes, func(c string) bool { return strings.HasPrefix(c, name+"=") })
	})
	for _, c := range changes {
		if !strings.HasSuffix(c, "=") {
			env = append(env, c)
		}
	}
	c := osexec.Command(kiln, args...)
	c.Dir, c.Env = s.dir, env
	text, err := c.CombinedOutput()
	if _, exited := err.(*osexec.ExitError); err != nil && !exited {
		s.t.Fatal(err)
	}
	return string(text), c.ProcessState.ExitCode()
}

// An engine that is killed while it exports fails the build, which says so;
// the next build begins with all that was built.
func TestKillEngineDuringExport(t *testing.T) {
	s, f := newShell(t), newFaultyRegistry(t)
	s.write("build.hcl", registryDefinition)
	s.env = append(s.env, "HOST="+f.host(), "GROUP=late")
	old := f.put(t, "late/app:1")
	c := &registryCase{fault: faults[slices.IndexFunc(faults, func(f fault) bool { return f.name == "hang" })], at: 4}
	f.add("late", c)
	r := s.start("--progress=plain", "push")
	for deadline := time.Now().Add(patience); f.requests("late") < c.at; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is pushed:\n%s", r.text())
		}
	}
	if err := unix.Kill(s.enginePID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.ends(); code != 3 || !strings.Contains(r.text(), "daemon was lost") {
		t.Errorf("exit code %d, want 3:\n%s", code, r.text())
	}
	f.remove("late")
	if got := f.digest(t, "late/app:1"); got != old {
		t.Errorf("the tag stands for %s, want the old %s", got, old)
	}
	if out := s.run("kiln build --progress=plain push"); !strings.Contains(out, "CACHED [1/1] COPY") || !strings.Contains(out, "1 target built") {
		t.Errorf("the next build says\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(s.stateDir(), "engine")); err != nil {
		t.Error(err)
	}
}

func (f *faultyRegistry) requests(group string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.cases[group].seen)
}
