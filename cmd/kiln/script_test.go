package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kilnbuild/kiln/internal/cli"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// TestScripts runs the command line as a user would: a file of
// testdata/script is a session with the files it needs. All sessions share
// one engine, which the first that builds starts, and a registry.
func TestScripts(t *testing.T) {
	state := engineEnv(t)
	reg := httptest.NewServer(&busyRegistry{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), asked: map[string]int{}})
	t.Cleanup(reg.Close)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("KILN_UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, state...)
			e.Vars = append(e.Vars,
				"REGISTRY_HOST="+strings.TrimPrefix(reg.URL, "http://"),
				testenv.Races(),
				"BUSYBOX="+filepath.Dir(testenv.Busybox(t)))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fields": fields, "stdout2env": stdoutToEnv},
	})
}

// engineEnv is the environment of the scripts' engine, which ends with the test.
func engineEnv(t *testing.T) []string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kiln-script") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"KILN_STATE_DIR=" + filepath.Join(dir, "state"),
		"KILN_RUNTIME_DIR=" + filepath.Join(dir, "run"),
		"KILN_RUNTIME=" + filepath.Join(testenv.Root(), "bin", "runc"),
	}
	t.Cleanup(func() {
		var out bytes.Buffer
		if code := cli.Main(context.Background(), []string{"engine", "stop", "--force"}, env, cli.Streams{In: &out, Out: &out, Err: &out}); code != 0 {
			t.Errorf("kiln engine stop: exit code %d: %s", code, &out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return env
}

// fields checks that every line of stdout has as many fields, parted by tabs,
// as its argument says.
func fields(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fields N")
	}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if got := strings.Count(line, "\t") + 1; args[0] != string(rune('0'+got)) {
			ts.Fatalf("%d fields in %q, want %s", got, line, args[0])
		}
	}
}

// stdoutToEnv sets the variable of its argument to the last line of stdout.
func stdoutToEnv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stdout2env NAME")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
	ts.Setenv(args[0], lines[len(lines)-1])
}
