package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// thousand makes a repository of many targets, each with a Dockerfile of its
// own, ten of which stand on one.
func thousand(t testing.TB, n int) {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for i := range n {
		needs := ""
		if i > 0 {
			needs = fmt.Sprintf("  contexts = { base = \"target:t%d\" }\n", i/10)
		}
		fmt.Fprintf(&b, "target \"t%d\" {\n  dockerfile = \"%d.Dockerfile\"\n  tags = [\"x/t%d\"]\n%s}\n", i, i, i, needs)
		text := fmt.Sprintf("ARG BASE=scratch\nFROM $BASE AS build\nCOPY shared svc/%d /\nFROM base\nCOPY --from=build / /\n", i)
		if i == 0 {
			text = "FROM alpine\n"
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.Dockerfile", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-bake.hcl"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
}

// planned runs kiln plan and returns what it prints.
func planned(t testing.TB, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	environ := []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	if code := Main(context.Background(), append([]string{"plan"}, args...), environ, Streams{Out: &stdout, Err: &stderr}); code != codeDone {
		t.Fatalf("exit code %d\n%s", code, stderr.String())
	}
	return stdout.String()
}

// A thousand targets are planned in less than a second, where nothing else is
// going on. The bound is what a very busy machine keeps, too, with the race
// detector.
func TestPlanThousand(t *testing.T) {
	thousand(t, 1000)
	began := time.Now()
	text := planned(t, "--sizes=none", "*")
	took := time.Since(began)
	t.Logf("it took %v", took)
	if took > 2*time.Minute {
		t.Errorf("it took %v", took)
	}
	if want := "1000 targets in 4 waves, from docker-bake.hcl\n"; !strings.HasPrefix(text, want) {
		t.Errorf("got %.60q, want %q", text, want)
	}
}

func BenchmarkPlanThousand(b *testing.B) {
	thousand(b, 1000)
	for b.Loop() {
		planned(b, "--sizes=none", "*")
	}
}

// On the corpus of real definitions, where it is there: what can be printed
// can be planned.
func TestPlanCorpus(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "corpus"))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := filepath.Glob(filepath.Join(root, "*", "[0-9]*", "cases", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Logf("the corpus is absent: there is no %s", root)
	}
	done := map[string]int{}
	planned := 0
	for _, dir := range cases {
		def := filepath.Dir(filepath.Dir(dir))
		if done[def]++; done[def] > corpusCases {
			continue
		}
		if corpusCase(t, def, dir) {
			planned++
		}
	}
	t.Logf("%d of %d cases planned", planned, len(cases))
}

// corpusCases is how many cases of a definition are planned.
const corpusCases = 1

// corpusCase reports whether a case could be printed, and so had to be planned.
func corpusCase(t *testing.T, def, dir string) bool {
	t.Helper()
	read := func(name string) []string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(data) == 0 {
			return nil
		}
		return strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	}
	t.Chdir(filepath.Join(def, "def", strings.Join(read("cwd"), "")))
	stdin, _ := os.ReadFile(filepath.Join(dir, "stdin"))
	environ := append(read("env"), "HOME="+t.TempDir(), "PATH="+os.Getenv("PATH"))
	run := func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		code := mainAt(t.Context(), noon, args, environ, Streams{In: bytes.NewReader(stdin), Out: &stdout, Err: &stderr})
		return code, stdout.String(), stderr.String()
	}
	cmd := read("cmd")
	if slices.ContainsFunc(cmd, func(arg string) bool { return strings.HasPrefix(arg, "--list") || arg == "--check" }) {
		return false
	}
	cmd = slices.DeleteFunc(cmd, func(arg string) bool { return arg == "--print" || strings.HasPrefix(arg, "--progress") })
	if code, _, _ := run(append([]string{"build", "--print"}, cmd...)...); code != codeDone {
		return false
	}
	code, out, stderr := run(append([]string{"plan", "--json"}, cmd...)...)
	if code != codeDone {
		t.Errorf("%s: kiln plan %s: exit code %d\n%s", dir, strings.Join(cmd, " "), code, stderr)
		return true
	}
	if !json.Valid([]byte(out)) {
		t.Errorf("%s: the plan is no JSON", dir)
	}
	if read("volatile") != nil || crc32.ChecksumIEEE([]byte(dir))%8 != 0 { // some of them are planned again
		return true
	}
	if _, again, _ := run(append([]string{"plan", "--json"}, cmd...)...); again != out {
		t.Errorf("%s: the plan is another the second time", dir)
	}
	return true
}
