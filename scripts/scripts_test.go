// Package scripts_test runs the scripts that make and CI call.
package scripts_test

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs one of the scripts and returns all it said, and whether it
// succeeded. The variables are added to the environment.
func script(t *testing.T, vars []string, name string, args ...string) (string, bool) {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), "sh", append([]string{name}, args...)...)
	cmd.Env = append(os.Environ(), vars...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBusybox(t *testing.T) {
	dest := t.TempDir()
	out, ok := script(t, nil, "busybox.sh", dest)
	if !ok || strings.Count(out, "\n") != 1 {
		t.Fatalf("said %q, success %v, want one line", out, ok)
	}
	busybox := filepath.Join(dest, "busybox")
	said, err := osexec.CommandContext(t.Context(), busybox, "echo", "it runs").Output()
	if err != nil || string(said) != "it runs\n" {
		t.Errorf("it says %q, %v", said, err)
	}
	before, err := os.Stat(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := script(t, nil, "busybox.sh", dest); !ok || !strings.Contains(out, "is there") {
		t.Errorf("again: said %q, success %v", out, ok)
	}
	if after, err := os.Stat(busybox); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the second run wrote it anew: %v", err)
	}
	if out, ok := script(t, []string{"KILN_BUSYBOX=" + busybox}, "busybox.sh", t.TempDir()); !ok {
		t.Errorf("a named one was refused: %s", out)
	}
	for name, text := range map[string]string{
		"what is none":       "#!/bin/sh\nexit 1\n",
		"what needs the lib": "#!/bin/sh\necho /lib64/ld-linux-x86-64.so.2\n",
	} {
		fake := write(t, filepath.Join(t.TempDir(), "busybox"), text, 0o755)
		out, ok := script(t, []string{"KILN_BUSYBOX=" + fake}, "busybox.sh", t.TempDir())
		if ok || !strings.Contains(out, "is not a static busybox") {
			t.Errorf("%s: said %q, success %v", name, out, ok)
		}
	}
}

// Where the package lists are older than the archive they are fetched anew, by
// root; a package that is not to be had is told of with what apt says.
func TestDebsOldLists(t *testing.T) {
	text, err := os.ReadFile("debs.sh")
	if err != nil {
		t.Fatal(err)
	}
	for user, ok := range map[string]bool{"0": true, "1000": false} {
		root, bin := t.TempDir(), t.TempDir()
		debs := write(t, filepath.Join(root, "scripts", "debs.sh"), string(text), 0o644) // its cache is beside it
		write(t, filepath.Join(bin, "id"), "#!/bin/sh\necho "+user+"\n", 0o755)
		write(t, filepath.Join(bin, "apt-cache"), "#!/bin/sh\n", 0o755)
		write(t, filepath.Join(bin, "dpkg-deb"), "#!/bin/sh\ncp \"$2\" \"$3/unpacked\"\n", 0o755)
		write(t, filepath.Join(bin, "apt-get"), `#!/bin/sh
case $1 in
update) : >"$LISTS" ;;
*)
	if [ ! -e "$LISTS" ]; then
		echo '404 Not Found' >&2
		exit 100
	fi
	echo new >thing_2_all.deb
	;;
esac
`, 0o755)
		dest := t.TempDir()
		out, done := script(t, []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "LISTS=" + filepath.Join(root, "lists")}, debs, dest, "thing")
		got, _ := os.ReadFile(filepath.Join(dest, "unpacked"))
		if done != ok || ok && (out != "" || string(got) != "new\n") || !ok && !strings.Contains(out, "404 Not Found\ndebs: apt-get download failed for: thing\n") {
			t.Errorf("user %s: success %v, said %q, unpacked %q", user, done, out, got)
		}
	}
}

// Without apt and without a busybox, it says what to install.
func TestBusyboxSaysWhatToInstall(t *testing.T) {
	path := tools(t, "sh", "dirname", "mkdir", "head", "grep")
	out, ok := script(t, []string{"PATH=" + path}, "busybox.sh", t.TempDir())
	if _, err := os.Stat("/bin/busybox"); err == nil {
		if !ok {
			t.Errorf("there is one on this machine: %s", out)
		}
		return
	}
	if ok || !strings.Contains(out, "sudo apk add busybox-static") {
		t.Errorf("said %q, success %v", out, ok)
	}
}

// tools returns a directory with links to some programs, to serve as PATH.
func tools(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path, err := osexec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDoctor(t *testing.T) {
	if out, ok := script(t, nil, "doctor.sh"); !ok || out != "" {
		t.Errorf("on this machine: said %q, success %v, want nothing", out, ok)
	}
	path := tools(t, "sh", "dirname", "sed", "grep", "uname", "id", "sort", "head", "tr", "cat", "find", "printf")
	out, ok := script(t, []string{"PATH=" + path}, "doctor.sh")
	for _, want := range []string{"missing: Go 1.", "https://go.dev/dl/", "missing: a C compiler", "sudo apt-get install gcc libc6-dev", "missing: git"} {
		if ok || !strings.Contains(out, want) {
			t.Errorf("with little on the machine: no %q in %q (success %v)", want, out, ok)
		}
	}
	if out, _ := script(t, []string{"PATH=" + path}, "doctor.sh", "build"); strings.Contains(out, "compiler") {
		t.Errorf("kiln itself needs no C compiler: said %q", out)
	}
	old := write(t, filepath.Join(t.TempDir(), "go"), "#!/bin/sh\n[ \"$2\" = GOVERSION ] && echo go1.9.9\n", 0o755)
	out, ok = script(t, []string{"GO=" + old}, "doctor.sh")
	if ok || !strings.Contains(out, "or later") || !strings.Contains(out, "is 1.9.9") {
		t.Errorf("with an old Go: said %q, success %v", out, ok)
	}
}

// A stand-in for a corpus's check.py that lists the failures it is told.
const fakeCheck = `import os, sys
failures = os.environ["FAILURES"].split()
for f in failures: print(f"FAIL {f}\n     .x: expected 1 got 2")
if "broken" in failures: sys.exit("no such tool")
print(f"cases 3: stable 3, volatile 0\npass {3 - len(failures)} of 3")
sys.exit(1 if failures else 0)
`

func TestConformanceWantsReasons(t *testing.T) {
	corpus := t.TempDir()
	write(t, filepath.Join(corpus, "check.py"), fakeCheck, 0o644)
	list := write(t, filepath.Join(t.TempDir(), "list"), "a/1/cases/x\n", 0o644)
	out, ok := script(t, []string{"KILN=/bin/true", "LIST=" + list, "FAILURES=a/1/cases/x"}, "conformance.sh", corpus)
	if ok || !strings.Contains(out, "have no reason") {
		t.Errorf("success %v, said:\n%s", ok, out)
	}
}

func TestConformance(t *testing.T) {
	corpus := t.TempDir()
	write(t, filepath.Join(corpus, "check.py"), fakeCheck, 0o644)
	list := write(t, filepath.Join(t.TempDir(), "list"), "# on purpose\na/1/cases/x\torder of the matrix\n", 0o644)
	tests := []struct {
		name, failures string
		ok             bool
		want           string
	}{
		{"only what is known", "a/1/cases/x", true, "1 cases differ, 1 of them on purpose"},
		{"something new", "a/1/cases/x b/2/cases/y", false, "and are not in " + list + ":\n  b/2/cases/y\n"},
		{"something is right now", "", false, "but do not differ:\n  a/1/cases/x\n"},
		{"nothing could be run", "broken", false, "no such tool"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vars := []string{"KILN=/bin/true", "LIST=" + list, "FAILURES=" + tt.failures}
			out, ok := script(t, vars, "conformance.sh", corpus)
			if ok != tt.ok || !strings.Contains(out, tt.want) {
				t.Errorf("success %v, want %v; no %q in:\n%s", ok, tt.ok, tt.want, out)
			}
		})
	}
}

// The offline Python is made once.
func TestPython(t *testing.T) {
	dest := t.TempDir()
	for _, name := range []string{"rootfs.tar", "packages.tar"} {
		write(t, filepath.Join(dest, name), "", 0o644)
	}
	if out, ok := script(t, nil, "python.sh", dest); !ok || !strings.Contains(out, "is there") {
		t.Errorf("said %q, success %v", out, ok)
	}
	path := tools(t, "sh", "dirname", "mkdir")
	if out, ok := script(t, []string{"PATH=" + path}, "python.sh", t.TempDir()); ok || !strings.Contains(out, "there is no apt here") {
		t.Errorf("without apt: said %q, success %v", out, ok)
	}
}

// A Chromium that is named is tried before it is taken, and taken once.
func TestChromium(t *testing.T) {
	draws := write(t, filepath.Join(t.TempDir(), "draws"), "#!/bin/sh\necho '<title>drawn</title>'\n", 0o755)
	dest := t.TempDir()
	if out, ok := script(t, []string{"KILN_CHROMIUM=" + draws}, "chromium.sh", dest); !ok || strings.Count(out, "\n") != 1 {
		t.Errorf("said %q, success %v, want one line", out, ok)
	}
	said, err := osexec.CommandContext(t.Context(), filepath.Join(dest, "chromium")).Output()
	if err != nil || string(said) != "<title>drawn</title>\n" {
		t.Errorf("what it put there says %q, %v", said, err)
	}
	if out, ok := script(t, []string{"KILN_CHROMIUM="}, "chromium.sh", dest); !ok || !strings.Contains(out, "is there") {
		t.Errorf("again: said %q, success %v", out, ok)
	}
	broken := write(t, filepath.Join(t.TempDir(), "broken"), "#!/bin/sh\necho 'libnss3.so: cannot open' >&2\nexit 127\n", 0o755)
	if out, ok := script(t, []string{"KILN_CHROMIUM=" + broken}, "chromium.sh", t.TempDir()); ok || !strings.Contains(out, "does not draw a page") || !strings.Contains(out, "libnss3.so") {
		t.Errorf("one that does not start: said %q, success %v", out, ok)
	}
	path := tools(t, "sh", "dirname", "mkdir")
	if out, ok := script(t, []string{"KILN_CHROMIUM=", "PATH=" + path}, "chromium.sh", t.TempDir()); ok || !strings.Contains(out, "there is no Chromium: this machine is not of the Debian family") || !strings.Contains(out, "KILN_CHROMIUM=/path/to/chromium") {
		t.Errorf("without apt: said %q, success %v", out, ok)
	}
}

// The programs that read and write images are fetched once.
func TestContainers(t *testing.T) {
	dest := t.TempDir()
	write(t, filepath.Join(dest, "done"), "", 0o644)
	if out, ok := script(t, nil, "containers.sh", dest); !ok || !strings.Contains(out, "is there") {
		t.Errorf("said %q, success %v", out, ok)
	}
	path := tools(t, "sh", "dirname", "mkdir", "mktemp", "rm")
	if out, ok := script(t, []string{"PATH=" + path}, "containers.sh", t.TempDir()); ok || !strings.Contains(out, "there is no skopeo: this machine is not of the Debian family") {
		t.Errorf("without apt: said %q, success %v", out, ok)
	}
}

// A tmux of the machine, or one that is named, is asked to show a terminal
// before the tests are given it.
func TestTmux(t *testing.T) {
	dest := t.TempDir()
	if out, ok := script(t, []string{"KILN_TMUX="}, "tmux.sh", dest); !ok || strings.Count(out, "\n") != 1 {
		t.Fatalf("said %q, success %v, want one line", out, ok)
	}
	tmux := filepath.Join(dest, "tmux")
	if said, err := osexec.CommandContext(t.Context(), tmux, "-V").Output(); err != nil || !strings.HasPrefix(string(said), "tmux ") {
		t.Errorf("it says %q, %v", said, err)
	}
	if out, ok := script(t, []string{"KILN_TMUX="}, "tmux.sh", dest); !ok || !strings.Contains(out, "is there") {
		t.Errorf("again: said %q, success %v", out, ok)
	}
	if out, ok := script(t, []string{"KILN_TMUX=" + tmux}, "tmux.sh", t.TempDir()); !ok {
		t.Errorf("a named one was refused: %s", out)
	}
	broken := write(t, filepath.Join(t.TempDir(), "tmux"), "#!/bin/sh\necho libevent.so: not found >&2\nexit 127\n", 0o755)
	if out, ok := script(t, []string{"KILN_TMUX=" + broken}, "tmux.sh", t.TempDir()); ok || !strings.Contains(out, "does not show a terminal") || !strings.Contains(out, "libevent.so") {
		t.Errorf("a broken one: said %q, success %v", out, ok)
	}
}

// Where no Docker Engine can be had, the script says why, and leaves it for
// the tests.
func TestDockerSaysWhyThereIsNone(t *testing.T) {
	dest := t.TempDir()
	out, ok := script(t, []string{"PATH=" + tools(t, "sh", "dirname", "mkdir", "rm", "id")}, "docker.sh", dest)
	why, err := os.ReadFile(filepath.Join(dest, "none"))
	if !ok || err != nil || string(why) != "this machine is not of the Debian family\n" || !strings.Contains(out, strings.TrimSpace(string(why))) {
		t.Errorf("said %q, success %v, wrote %q (%v)", out, ok, why, err)
	}
}
