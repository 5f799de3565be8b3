package buildkit_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// TestSecrets gives two targets different secrets of one ID, from files and
// the environment, and checks that their values are not shown.
func TestSecrets(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": busyboxLines + "ARG N\nRUN --mount=type=secret,id=tok cp /run/secrets/tok /got; echo value $(cat /got)\n",
		"bad":        busyboxLines + "ARG N\nRUN --mount=type=secret,id=tok cat /run/secrets/tok; exit 9\n",
		"need":       busyboxLines + "RUN --mount=type=secret,id=tok,required=true true\n",
		"token.txt":  "file-secret-value",
		"tok":        "tok-file-value",
	}))
	for _, frontend := range []bool{false, true} {
		n := map[bool]string{false: "0", true: "1"}[frontend]
		r := &recorder{}
		s := &session{dir: dir, sink: r, opt: buildkit.Options{Frontend: frontend, Getenv: env("TOK", "env-secret-value")}, targets: []*config.Target{
			{Name: "file", Args: kv("N", "1"+n), Secrets: []config.Secret{{ID: "tok", Src: "token.txt"}}, Outputs: toDir("file")},
			{Name: "env", Args: kv("N", "2"+n), Secrets: []config.Secret{{ID: "tok", Env: "TOK"}}, Outputs: toDir("env")},
			{Name: "implied", Args: kv("N", "3"+n), Secrets: []config.Secret{{ID: "tok"}}, Outputs: toDir("implied")},
			{Name: "again", Args: kv("N", "4"+n), Secrets: []config.Secret{{ID: "tok", Src: "token.txt"}}, Outputs: toDir("again")},
		}}
		s.must(t)
		for name, want := range map[string]string{"file": "file-secret-value", "env": "env-secret-value", "implied": "tok-file-value", "again": "file-secret-value"} {
			if got := read(t, dir, name, "got"); got != want {
				t.Errorf("frontend=%t: %s got %q, want %q", frontend, name, got, want)
			}
			if log := r.log(name); !strings.Contains(log, "value xxxxx") {
				t.Errorf("frontend=%t: the log of %s is %q", frontend, name, log)
			}
		}
	}
	s := &session{dir: dir, targets: []*config.Target{{Name: "bad", Dockerfile: "bad", Secrets: []config.Secret{{ID: "tok", Src: "token.txt"}}}}}
	_, err := s.run(t, t.Context())
	src := sourceError(t, err)
	if strings.Contains(string(src.Log), "file-secret") || src.ExitCode != 9 {
		t.Errorf("log is %q, %v", src.Log, err)
	}
	s = &session{dir: dir, targets: []*config.Target{{Name: "need", Dockerfile: "need", Secrets: []config.Secret{{ID: "tok", Env: "NONE"}}}}}
	if _, err := s.run(t, t.Context()); err == nil || !strings.Contains(err.Error(), "tok") {
		t.Errorf("a required secret that is not there: %v", err)
	}
}

// sshKey returns a new private key.
func sshKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// sshAgent starts an agent without keys and returns its socket.
func sshAgent(t *testing.T) string {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(agent.NewKeyring(), c)
		}
	}()
	return sock
}

// TestEntitlements: what a target is not entitled to is refused, though
// another of the run is.
func TestEntitlements(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile":        busyboxLines + "RUN --security=insecure echo $(id -u) > /yes\n",
		"host":              busyboxLines + "RUN --network=host echo 1 > /yes\n",
		"none":              busyboxLines + "RUN cat /proc/net/dev > /yes\n",
		"reader/Dockerfile": "FROM insecure\nCOPY --from=insecure /yes /again\n",
	}))
	s := &session{dir: dir, mode: exec.KeepGoing, targets: []*config.Target{
		{Name: "insecure", Entitlements: []string{"security.insecure"}, Outputs: toDir("insecure")},
		{Name: "refused", Outputs: toDir("refused")},
		{Name: "host", Dockerfile: "host", Entitlements: []string{"network.host"}, Outputs: toDir("host-out")},
		{Name: "refused-host", Dockerfile: "host", Outputs: toDir("refused")},
		{Name: "force-host", Dockerfile: "none", Network: "host", Outputs: toDir("force-host")},
		{Name: "force-none", Dockerfile: "none", Network: "none", Outputs: toDir("force-none")},
		{Name: "reader", Context: local("reader"), Contexts: []config.NamedSource{from("insecure", "insecure")}, Outputs: toDir("reader-out")},
	}}
	out, _ := s.run(t, t.Context())
	for name, o := range out {
		refused := strings.HasPrefix(name, "refused")
		if refused != (o.Status == exec.Failed) {
			t.Errorf("%s: %v, %v", name, o.Status, o.Err)
		}
		if refused && (o.Err == nil || !strings.Contains(o.Err.Error(), "not allowed")) {
			t.Errorf("%s: %v", name, o.Err)
		}
	}
	read(t, dir, "reader-out/again")
	if n := strings.Count(read(t, dir, "force-none/yes"), ":"); n != 1 {
		t.Errorf("network none has %d interfaces, want lo alone", n)
	}
}

// TestNoCache checks that steps run again when that is asked for.
func TestNoCache(t *testing.T) {
	dir := withBusybox(t, files(t, t.TempDir(), map[string]string{
		"Dockerfile": strings.Replace(busyboxLines, "scratch", "scratch AS one", 1) + "RUN cat /proc/sys/kernel/random/uuid > /1\nFROM one AS two\nRUN cat /proc/sys/kernel/random/uuid > /2\n",
	}))
	build := func(target config.Target) (one, two string) {
		os.RemoveAll(filepath.Join(dir, "out"))
		target.Name, target.Outputs = "app", toDir("out")
		s := &session{dir: dir, targets: []*config.Target{&target}}
		s.must(t)
		return read(t, dir, "out/1"), read(t, dir, "out/2")
	}
	a1, a2 := build(config.Target{})
	b1, b2 := build(config.Target{})
	if a1 != b1 || a2 != b2 {
		t.Error("the cache was not used")
	}
	c1, c2 := build(config.Target{NoCacheFilter: []string{"two"}})
	if c1 != b1 || c2 == b2 {
		t.Errorf("no-cache-filter: first stage the same %t, second anew %t", c1 == b1, c2 != b2)
	}
	d1, d2 := build(config.Target{NoCache: true})
	if d1 == c1 || d2 == c2 {
		t.Error("no-cache: a step was not run")
	}
}

func sourceError(t *testing.T, err error) *exec.SourceError {
	t.Helper()
	for ; err != nil; err = unwrap(err) {
		if src, ok := err.(*exec.SourceError); ok {
			return src
		}
	}
	t.Fatalf("%v is no SourceError", err)
	return nil
}

func unwrap(err error) error {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return e.Unwrap()
	case interface{ Unwrap() []error }:
		return e.Unwrap()[0]
	}
	return nil
}

// TestDockerfiles finds the Dockerfile in all the places where it may be.
func TestDockerfiles(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{
		"ctx/word":           "hello\n",
		"ctx/lower/word":     "hello\n",
		"ctx/deep/my.file":   "FROM scratch\nCOPY word /deep\n",
		"beside/other.file":  "FROM scratch\nCOPY word /beside\n",
		"ctx/Dockerfile":     "FROM scratch\nCOPY word /plain\n",
		"lower/dockerfile":   "FROM scratch\nCOPY word /lower\n",
		"lower/word":         "hello\n",
		"beside/secret.file": "FROM scratch\nCOPY . /\n", "beside/secret.file.dockerignore": "*\n!word\n",
		"remote/Dockerfile": "",
	})
	for _, frontend := range []bool{false, true} {
		for _, tt := range []struct {
			target config.Target
			want   string
		}{
			{config.Target{Context: local("ctx")}, "plain"},
			{config.Target{Context: local("lower")}, "lower"},
			{config.Target{Context: local("ctx"), Dockerfile: "deep/my.file"}, "deep"},
			{config.Target{Context: local("ctx"), Dockerfile: "../beside/other.file"}, "beside"},
			{config.Target{Context: local("ctx"), Dockerfile: "cwd://beside/other.file"}, "beside"},
			{config.Target{Context: local("ctx"), Dockerfile: filepath.Join(dir, "beside/other.file")}, "beside"},
			{config.Target{Context: local("ctx"), DockerfileInline: "FROM scratch\nCOPY word /inline\n"}, "inline"},
			{config.Target{Context: local("ctx"), Dockerfile: "../beside/secret.file"}, "word"},
			{config.Target{Context: local(filepath.Join(dir, "ctx"))}, "plain"},
		} {
			target := tt.target
			target.Name, target.Outputs = "app", toDir("out")
			s := &session{dir: dir, targets: []*config.Target{&target}, opt: buildkit.Options{Frontend: frontend}}
			s.must(t)
			if got := read(t, dir, "out", tt.want); got != "hello\n" {
				t.Errorf("%s: %q", tt.want, got)
			}
			if left, _ := os.ReadDir(filepath.Join(dir, "out")); len(left) != 1 {
				t.Errorf("%s: the output has %v", tt.want, left)
			}
			os.RemoveAll(filepath.Join(dir, "out"))
		}
	}
}
