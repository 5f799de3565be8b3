package kiln_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "github.com/kilnbuild/kiln"
	buildkit = "github.com/moby/buildkit/"
)

// A listed package is one of `go list -json`.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// mayImport is the whole of which package of ours may import which others. A
// package that is not in it may import any but cmd, and is imported by none
// of those that are in it unless they say so. A new arrow is a decision: write
// it down in docs/decisions.
var mayImport = map[string][]string{
	"config":              {},
	"graph":               {"config"},
	"exec":                {"config", "graph"},
	"exec/buildkit":       {"config", "exec", "graph", "internal/atomicfile", "internal/registry"},
	"exec/pool":           {"config", "exec", "graph"},
	"internal/diag":       {"config"},
	"internal/docker":     {},
	"internal/plan":       {"config", "exec/buildkit", "graph", "internal/diag"},
	"internal/progress":   {"config", "exec", "graph", "internal/diag"},
	"internal/engine":     {},
	"internal/store":      {"internal/atomicfile"},
	"internal/keyboard":   {},
	"internal/picture":    {},
	"internal/scaffold":   {"config"},
	"internal/durations":  {"config", "exec", "graph", "internal/atomicfile"},
	"internal/gitfacts":   {},
	"internal/image":      {"config", "exec", "internal/docker", "internal/registry", "internal/store"},
	"internal/registry":   {"exec"},
	"internal/runs":       {"config", "exec", "graph", "internal/atomicfile", "internal/diag"},
	"internal/report":     {"internal/runs"},
	"internal/spans":      {"internal/runs"},
	"internal/startup":    {},
	"internal/atomicfile": {},
	"internal/format":     {},
	"internal/lint":       {"config", "exec/buildkit", "graph", "internal/diag"},
	"cmd/kiln":            {"internal/cli"},
}

// list returns our packages, by path within the module.
func list(t *testing.T) map[string]listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	packages := map[string]listed{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[ours(p.ImportPath)] = p
	}
}

// ours returns the path of a package within the module; "" for other modules'
// packages and for the root, which holds only tests.
func ours(importPath string) string {
	rel, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	return rel
}

// Packages import each other in one direction only.
func TestImportDirection(t *testing.T) {
	packages := list(t)
	for name, allowed := range mayImport {
		p, ok := packages[name]
		if !ok {
			t.Errorf("%s is in the table, but there is no such package", name)
			continue
		}
		for _, imp := range p.Imports {
			if rel := ours(imp); rel != "" && !slices.Contains(allowed, rel) {
				t.Errorf("%s imports %s: it may import %v", name, rel, allowed)
			}
		}
	}
	for name, p := range packages {
		for _, imp := range p.Imports {
			if strings.HasPrefix(ours(imp), "cmd/") {
				t.Errorf("%s imports %s: commands are imported by nobody", name, imp)
			}
		}
	}
}

// BuildKit's client is named in exec/buildkit only, its daemon in
// internal/engine only; what is below them doesn't even come to know of it.
func TestBuildKitStaysBehindTwoPackages(t *testing.T) {
	packages := list(t)
	for name, p := range packages {
		if name == "" || name == "exec/buildkit" || name == "internal/engine" {
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, buildkit) {
				t.Errorf("%s imports %s: only exec/buildkit and internal/engine may", name, imp)
			}
		}
	}
	for _, name := range []string{"config", "graph", "exec", "exec/pool", "internal/diag", "internal/progress"} {
		for _, dep := range packages[name].Deps {
			if strings.HasPrefix(dep, buildkit) {
				t.Errorf("%s depends on %s by way of something else", name, dep)
			}
		}
	}
	for _, imp := range packages["exec/buildkit"].Imports {
		if rel, ok := strings.CutPrefix(imp, buildkit); ok && isDaemon(rel) {
			t.Errorf("exec/buildkit imports %s, a part of the daemon", imp)
		}
	}
}

// What only tests stand on is not linked into kiln.
func TestTestsStayOutOfKiln(t *testing.T) {
	for _, dep := range list(t)["cmd/kiln"].Deps {
		if strings.HasPrefix(ours(dep), "internal/testenv") || strings.HasPrefix(dep, "github.com/chromedp/") {
			t.Errorf("cmd/kiln depends on %s, which is for tests", dep)
		}
	}
}

// isDaemon reports whether a package of BuildKit is a part of its daemon. The
// types of its provenance are a format, which clients read.
func isDaemon(rel string) bool {
	if rel == "solver/llbsolver/provenance/types" {
		return false
	}
	for _, d := range []string{"control", "worker", "executor", "snapshot", "cache", "source", "cmd/buildkitd", "solver/llbsolver", "frontend/gateway/forwarder"} {
		if rel == d || strings.HasPrefix(rel, d+"/") {
			return true
		}
	}
	return rel == "frontend/gateway" || rel == "solver"
}

// config and graph are pure: they see neither files nor the environment nor
// the network, whatever the definition says.
func TestPurePackages(t *testing.T) {
	packages := list(t)
	for _, name := range []string{"config", "graph"} {
		for _, imp := range packages[name].Imports {
			switch {
			case imp == "os", imp == "net", imp == "syscall", path.Dir(imp) == "os", path.Dir(imp) == "net" && imp != "net/url" && imp != "net/netip":
				t.Errorf("%s imports %s: it may not look at the world outside", name, imp)
			}
		}
	}
}
