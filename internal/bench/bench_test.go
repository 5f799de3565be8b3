package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2/hclparse"
)

// The definitions are what they claim to be: HCL, with as many targets.
func TestDefinitions(t *testing.T) {
	for _, s := range shapes {
		f, diags := hclparse.NewParser().ParseHCL([]byte(s.write(10)), s.name)
		if diags.HasErrors() || f == nil {
			t.Errorf("%s: %v", s.name, diags)
		}
	}
	if _, diags := hclparse.NewParser().ParseHCL([]byte(coldDefinition()), "cold"); diags.HasErrors() || strings.Count(coldDefinition(), "\ntarget ") != 30 {
		t.Error(diags)
	}
	if _, diags := hclparse.NewParser().ParseHCL([]byte(ordinary.definition()), "work"); diags.HasErrors() {
		t.Error(diags)
	}
}

func TestWriteWork(t *testing.T) {
	dir := t.TempDir()
	busybox := filepath.Join(dir, "busybox")
	if err := ordinary.write(filepath.Join(dir, "build"), busybox); err == nil {
		t.Error("no error without a busybox")
	}
	if err := os.WriteFile(busybox, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ordinary.write(filepath.Join(dir, "build"), busybox); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Dockerfile", "docker-bake.hcl", "shared/3/3.txt", "svc/t199/0/4.txt"} {
		if _, err := os.Stat(filepath.Join(dir, "build", name)); err != nil {
			t.Error(err)
		}
	}
}

func TestMeasure(t *testing.T) {
	b := &bench{runs: 3, limit: time.Minute, env: os.Environ()}
	s, err := b.measure(t.Context(), t.TempDir(), []string{"sleep", "0.02"}, nil)
	if err != nil || s.runs != 3 || s.wall < 20*time.Millisecond || s.rss == 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	b.steady = time.Hour
	if s, err := b.measure(t.Context(), t.TempDir(), []string{"true"}, nil); err != nil || s.runs != 15 || b.noteRuns(s) != "" {
		t.Errorf("short runs: got %+v, %v", s, err)
	}
	b.limit = 30 * time.Millisecond
	if s, err := b.measure(t.Context(), t.TempDir(), []string{"sleep", "0.02"}, nil); err != nil || s.runs >= 3 || b.noteRuns(s) == "" {
		t.Errorf("over the limit: got %+v, %v", s, err)
	}
	if _, err := b.measure(t.Context(), t.TempDir(), []string{"false"}, nil); err == nil {
		t.Error("a command that fails was measured")
	}
}

func TestDaemonCPU(t *testing.T) {
	e := daemon{pid: os.Getpid()}
	before, err := e.cpu()
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine may leave a process without its cores for long.
	after := before
	for end := time.Now().Add(time.Minute); err == nil && after <= before && time.Now().Before(end); {
		after, err = e.cpu()
	}
	if err != nil || after <= before {
		t.Errorf("before %v, after %v, %v", before, after, err)
	}
}

func TestTexts(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{ms(1500 * time.Microsecond), "1.5 ms"},
		{ms(150 * time.Millisecond), "150 ms"},
		{ms(1500 * time.Millisecond), "1.50 s"},
		{ms(15 * time.Second), "15.0 s"},
		{mib(5 << 20), "5 MiB"},
		{ratio(time.Second, 3*time.Second), "3.0×"},
		{ratio(time.Duration(0), time.Second), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
