package testenv

import (
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A GitServer serves git repositories over HTTP, by git's own http-backend.
type GitServer struct {
	URL string // of the server, without a path

	dir string

	mu    sync.Mutex // guards asked and seen
	asked string
	seen  []string
}

// Ask lets in only those who send this Authorization header; "" is everybody,
// as at the beginning.
func (g *GitServer) Ask(header string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = header
}

// NewGitServer starts a server without repositories.
func NewGitServer(t testing.TB) *GitServer {
	t.Helper()
	out, err := osexec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatalf("tests of remote definitions need git: %v", err)
	}
	g := &GitServer{dir: t.TempDir()}
	backend := &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + g.dir, "GIT_HTTP_EXPORT_ALL=1"},
		Stderr: io.Discard, // a repository that is not there, as a test may want it
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := r.Header.Get("Authorization")
		g.mu.Lock()
		if sent != "" && !slices.Contains(g.seen, sent) {
			g.seen = append(g.seen, sent)
		}
		asked := g.asked
		g.mu.Unlock()
		if asked != "" && !strings.EqualFold(sent, asked) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who is there?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g.URL = server.URL
	return g
}

// Seen returns the Authorization headers that were sent, each once.
func (g *GitServer) Seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.seen)
}

// Host is the server's address and port.
func (g *GitServer) Host() string { return strings.TrimPrefix(g.URL, "http://") }

// Dir is the directory of the repositories.
func (g *GitServer) Dir() string { return g.dir }

// Commit commits files, on top of what there is, to a branch of a repository
// and returns the commit. The repository's address is URL/NAME.git.
func (g *GitServer) Commit(t testing.TB, name, branch string, files map[string]string) string {
	t.Helper()
	bare := filepath.Join(g.dir, name+".git")
	if _, err := os.Stat(bare); err != nil {
		git(t, g.dir, "init", "-q", "--bare", "-b", branch, bare)
	}
	work := t.TempDir()
	git(t, work, "init", "-q", "-b", branch)
	git(t, work, "remote", "add", "origin", bare)
	if known := git(t, work, "ls-remote", "origin", branch); known != "" {
		git(t, work, "fetch", "-q", "origin", branch)
		git(t, work, "reset", "-q", "--hard", "FETCH_HEAD")
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git(t, work, "add", "-A")
	git(t, work, "commit", "-q", "--allow-empty", "-m", "files")
	git(t, work, "push", "-q", "origin", branch)
	return git(t, work, "rev-parse", "HEAD")
}

// Daemon serves the same repositories by git's own protocol and returns the
// address, without a path.
func (g *GitServer) Daemon(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			wait.Go(func() {
				defer conn.Close()
				socket, err := conn.(*net.TCPConn).File()
				if err != nil {
					return
				}
				defer socket.Close()
				c := osexec.Command("git", "daemon", "--inetd", "--export-all", "--base-path="+g.dir)
				c.Stdin, c.Stdout = socket, socket
				_ = c.Run() // a client that goes away early is none of the server's
			})
		}
	})
	return fmt.Sprintf("git://%s", l.Addr())
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	c := osexec.Command("git", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=kiln", "GIT_AUTHOR_EMAIL=kiln@example.com", "GIT_COMMITTER_NAME=kiln", "GIT_COMMITTER_EMAIL=kiln@example.com")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// WebServer serves files over HTTPS, with a certificate of its own that cert
// holds in PEM, the name of a file. It returns the address of the server.
func WebServer(t testing.TB, files map[string]string) (url, cert string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(server.Close)
	cert = filepath.Join(t.TempDir(), "cert.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(cert, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return server.URL, cert
}
