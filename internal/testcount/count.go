package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// An event is one line of go test -json: see go doc test2json. Lines of the
// build have ImportPath instead of Package.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// A count follows the events of one go test.
type count struct {
	out     io.Writer
	allowed map[string]string // reasons by "package test"
	output  map[string][]string
	running map[string]bool // "package test" of those that have begun and do not wait
	passed  int
	failed  []string // "package test", or a package that failed without a test
	skipped []string // allowed ones
	refused []string // those that should have run
	stray   bool     // a package failed, or something could not be built
}

func newCount(out io.Writer, allowed map[string]string) *count {
	return &count{out: out, allowed: allowed, output: make(map[string][]string), running: make(map[string]bool)}
}

// read takes events until the end of r. What is no event is passed on.
func (c *count) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			c.event(e)
		} else if len(line) > 0 {
			fmt.Fprintf(c.out, "%s", line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *count) event(e event) {
	key := strings.TrimSpace(e.Package + " " + e.Test)
	switch e.Action {
	case "run", "cont":
		c.running[key] = true
	case "pause":
		delete(c.running, key)
	case "output":
		c.output[key] = append(c.output[key], e.Output)
	case "build-output":
		fmt.Fprint(c.out, e.Output)
	case "build-fail":
		c.stray = true
	case "pass", "fail", "skip":
		if e.Test == "" {
			c.endPackage(e)
		} else {
			c.endTest(key, e.Action)
		}
		delete(c.output, key)
		delete(c.running, key)
	}
}

func (c *count) endTest(key, action string) {
	switch action {
	case "pass":
		c.passed++
	case "fail":
		c.failed = append(c.failed, key)
		c.show(key)
	case "skip":
		if c.allowed[key] != "" {
			c.skipped = append(c.skipped, key)
			return
		}
		c.refused = append(c.refused, key)
		c.show(key)
	}
}

// endPackage shows a package that failed with all it said: a panic or a data
// race ends the process, and belongs to no test. A test that was running then
// has no result; what it printed may be the reason.
func (c *count) endPackage(e event) {
	if e.Action == "fail" {
		c.stray = true
		c.show(e.Package)
	}
	for _, key := range slices.Sorted(maps.Keys(c.running)) {
		if strings.HasPrefix(key, e.Package+" ") {
			c.endTest(key, "fail")
			delete(c.running, key)
		}
	}
	if e.Action != "skip" { // which says that it has no tests
		fmt.Fprintf(c.out, "%-4s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
	}
}

func (c *count) show(key string) {
	fmt.Fprintf(c.out, "--- %s\n%s", key, strings.Join(c.output[key], ""))
}

// end prints the sums and returns the exit status.
func (c *count) end(testErr, readErr error) int {
	bad := slices.Concat(c.failed, c.refused)
	for _, key := range c.skipped {
		fmt.Fprintf(c.out, "skipped: %s: %s\n", key, c.allowed[key])
	}
	for _, key := range c.refused {
		fmt.Fprintf(c.out, "skipped, and should have run: %s\n", key)
	}
	for _, key := range c.failed {
		fmt.Fprintf(c.out, "failed: %s\n", key)
	}
	if readErr != nil {
		fmt.Fprintf(c.out, "reading the results: %v\n", readErr)
	}
	failed := len(bad)
	if failed == 0 && (testErr != nil || readErr != nil || c.stray) {
		failed = 1 // a package that could not be built, or ended without blaming a test
	}
	fmt.Fprintf(c.out, "%d tests: %d skipped for a known reason\n", c.passed+failed+len(c.skipped), len(c.skipped))
	fmt.Fprintf(c.out, "%d passed, %d failed\n", c.passed, failed)
	if failed > 0 {
		return 1
	}
	return 0
}

// readSkips reads lines of "package test<TAB>reason"; "#" begins a comment.
func readSkips(path string) (map[string]string, error) {
	allowed := make(map[string]string)
	if path == "" {
		return allowed, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, reason, ok := strings.Cut(line, "\t")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d: want package, test, a tab and the reason, got %q", path, i+1, line)
		}
		allowed[key] = strings.TrimSpace(reason)
	}
	return allowed, nil
}
