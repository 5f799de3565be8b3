package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/internal/engine"
)

func TestLastLines(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""},
		{"a\n", 1, "a\n"},
		{"a\nb\nc\n", 0, "a\nb\nc\n"},
		{"a\nb\nc\n", 1, "c\n"},
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc\n", 9, "a\nb\nc\n"},
		{"a\nb", 1, "b"},
		{"\n\nb\n", 2, "\nb\n"},
	} {
		if got := string(lastLines([]byte(tt.text), tt.n)); got != tt.want {
			t.Errorf("lastLines(%q, %d) = %q, want %q", tt.text, tt.n, got, tt.want)
		}
	}
}

// A buffer that one goroutine writes and another reads.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What is appended is printed, and so is a new log that took the old one's
// place.
func TestPrintLogFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "engine.log")
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("one\ntwo\n")
	ctx, cancel := context.WithCancel(t.Context())
	var out lockedBuffer
	done := make(chan error, 1)
	go func() { done <- printLog(ctx, &out, path, 1, true) }()
	await := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); out.String() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("printed %q, want %q", out.String(), want)
			}
		}
	}
	await("two\n")
	write("three\n")
	await("two\nthree\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("four\n")
	await("two\nthree\nfour\n")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWriteStatus(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	o := engine.Options{StateDir: "/s"}
	for _, tt := range []struct {
		name string
		s    engine.Status
		want []string
	}{
		{"none", engine.Status{Socket: "/r/s"}, []string{"engine:  not running (a build starts it)", "socket:  /r/s", "state:   /s", "log:     /s/engine.log"}},
		{"stuck", engine.Status{Running: true, PID: 7, Problem: "it is silent"}, []string{"engine:   not usable", "process:  7", "problem:  it is silent", "state:    /s", "log:      /s/engine.log"}},
		{"running", engine.Status{Running: true, Healthy: true, Rootless: true, PID: 7, Version: "v1", BuildKit: "v0.34.2", Started: now.Add(-2 * time.Hour), Idle: 10 * time.Minute, Uses: 2, CacheMax: 20e9},
			[]string{"engine:          running, rootless", "process:         7", "version:         v1", "buildkit:        v0.34.2",
				"started:         " + now.Add(-2*time.Hour).Local().Format(time.DateTime) + " (2 hours ago)", "in use by:       2",
				"ends when idle:  after 10m0s", "cache limit:     20GB", "state:           /s", "log:             /s/engine.log"}},
		{"kept", engine.Status{Running: true, Healthy: true, Started: now, CacheMax: 2e9},
			[]string{"engine:          running", "started:         " + now.Local().Format(time.DateTime) + " (Less than a second ago)", "in use by:       0",
				"ends when idle:  never", "cache limit:     2GB", "state:           /s", "log:             /s/engine.log"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := writeStatus(&b, o, tt.s, now); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}
