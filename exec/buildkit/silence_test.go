package buildkit_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

// mute listens, takes what is sent, and never answers.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		var taken []net.Conn
		for {
			c, err := l.Accept()
			if err != nil { // the test is over
				for _, c := range taken {
					c.Close()
				}
				return
			}
			taken = append(taken, c)
			wait.Go(func() { _, _ = io.Copy(io.Discard, c) })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	return l.Addr().String()
}

// TestSilence: whatever a build waits for on a registry that does not answer
// is told by name. Nothing is cancelled by that.
func TestSilence(t *testing.T) {
	host := mute(t)
	for _, tt := range []struct {
		name, dockerfile, want string
		change                 func(*config.Target)
	}{
		{"base image", "FROM " + host + "/base:1\n", "asking for the metadata of " + host + "/base:1 from " + host, nil},
		{"push", "FROM scratch\nCOPY Dockerfile /\n", "pushing " + host + "/app:1, pushing layers", func(c *config.Target) {
			c.Tags = []string{host + "/app:1"}
			c.Outputs = []config.Export{{Type: "image", Attrs: kv("push", "true", "registry.insecure", "true")}}
		}},
		{"running step", busyboxLines + "RUN cat /proc/sys/kernel/random/uuid > /dev/null; sleep 600\n", "running cat /proc/sys/kernel/random/uuid > /dev/null; sleep 600 (Dockerfile:5)", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := &config.Target{Name: "app", NoCache: true}
			if tt.change != nil {
				tt.change(target)
			}
			s := &session{dir: withBusybox(t, files(t, t.TempDir(), map[string]string{"Dockerfile": tt.dockerfile})), targets: []*config.Target{target}}
			ctx, cancel := context.WithCancelCause(t.Context())
			enough := errors.New("enough was heard")
			var mu sync.Mutex // guards heard
			var heard []string
			dog := exec.Watch(sinkFunc(func(e exec.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Kind == exec.Silent {
					heard = append(heard, e.Silence.Doing)
					if e.Silence.Doing == tt.want {
						cancel(enough)
					}
				}
			}), s.graph(t), exec.WatchOptions{After: 300 * time.Millisecond, Doing: buildkit.Doing})
			defer dog.Close()
			stop := time.AfterFunc(5*time.Minute, func() { cancel(errors.New("nothing was heard")) })
			defer stop.Stop()
			s.sink = dog
			if _, err := s.run(t, ctx); !errors.Is(err, enough) {
				mu.Lock()
				defer mu.Unlock()
				t.Errorf("want %q; heard:\n%s\nthe error is %v", tt.want, strings.Join(heard, "\n"), err)
			}
		})
	}
}
