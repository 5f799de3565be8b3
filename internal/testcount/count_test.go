package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	allowed := map[string]string{"p TestSlow": "needs a day"}
	tests := []struct {
		name, in string
		err      error
		code     int
		want     []string // each is in the output
		not      string   // is not; "" checks nothing
	}{
		{
			name: "all pass",
			in: `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.5}
{"Action":"skip","Package":"empty"}
`,
			want: []string{"pass p 1.5s\n", "2 tests: 0 skipped for a known reason\n2 passed, 0 failed\n"},
			not:  "chatter",
		},
		{
			name: "one fails",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`,
			err:  errors.New("exit status 1"),
			code: 1,
			want: []string{"--- p TestA\ngot 1, want 2\n", "failed: p TestA\n", "1 passed, 1 failed\n"},
		},
		{
			name: "a skip without reason",
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"no daemon\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`,
			code: 1,
			want: []string{"no daemon\n", "skipped, and should have run: p TestA\n", "0 passed, 1 failed\n"},
		},
		{
			name: "a skip with a reason",
			in: `{"Action":"skip","Package":"p","Test":"TestSlow"}
{"Action":"pass","Package":"p"}
`,
			want: []string{"skipped: p TestSlow: needs a day\n", "1 tests: 1 skipped", "0 passed, 0 failed\n"},
		},
		{
			name: "does not compile",
			in: `{"ImportPath":"p","Action":"build-output","Output":"p/a.go:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p"}
`,
			err:  errors.New("exit status 1"),
			code: 1,
			want: []string{"syntax error", "[build failed]", "0 passed, 1 failed\n"},
		},
		{
			name: "a package that dies",
			in: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"panic: boom\n"}
{"Action":"fail","Package":"p"}
`,
			err:  errors.New("exit status 1"),
			code: 1,
			want: []string{"panic: boom\n", "1 passed, 1 failed\n"},
		},
		{
			name: "a process that ends in the middle of a test",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"pause","Package":"p","Test":"TestB"}
{"Action":"run","Package":"p","Test":"TestC"}
{"Action":"pass","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Test":"TestA","Output":"SIGQUIT: quit\n"}
{"Action":"fail","Package":"p"}
`,
			err:  errors.New("exit status 1"),
			code: 1,
			want: []string{"--- p TestA\nSIGQUIT: quit\n", "failed: p TestA\n", "1 passed, 1 failed\n"},
			not:  "TestB",
		},
		{
			name: "go itself fails",
			in:   "go: cannot find module\n",
			err:  errors.New("exit status 1"),
			code: 1,
			want: []string{"cannot find module", "0 passed, 1 failed\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			c := newCount(&out, allowed)
			if got := c.end(tt.err, c.read(strings.NewReader(tt.in))); got != tt.code {
				t.Errorf("exit status %d, want %d", got, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
			if tt.not != "" && strings.Contains(out.String(), tt.not) {
				t.Errorf("%q in:\n%s", tt.not, out.String())
			}
		})
	}
}

func TestReadSkips(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "skips")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	got, err := readSkips(write("# why\n\np TestA\tneeds a moon\n"))
	if err != nil || len(got) != 1 || got["p TestA"] != "needs a moon" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := readSkips(write("p TestA\n")); err == nil || !strings.Contains(err.Error(), ":1: want package") {
		t.Errorf("without a reason: got %v", err)
	}
}

// The real thing, on one package.
func TestRun(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--", "-run", "TestReadSkips", "."}, &out, &errs); code != 0 {
		t.Fatalf("exit status %d:\n%s%s", code, out.String(), errs.String())
	}
	if !strings.HasSuffix(out.String(), "\n1 passed, 0 failed\n") {
		t.Errorf("got:\n%s", out.String())
	}
}
