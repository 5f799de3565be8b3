package buildkit_test

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/config"
)

// TestHTTPContext builds from a tar that the daemon fetches, with the
// Dockerfile in it, beside it, or in the build file.
func TestHTTPContext(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\nCOPY word /in\n", "word": "hello\n"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(archive.Bytes()) }))
	defer srv.Close()
	dir := files(t, t.TempDir(), map[string]string{"d/my.file": "FROM scratch\nCOPY word /beside\n"})
	url := config.Remote{URL: srv.URL + "/context.tar"}
	s := &session{dir: dir, targets: []*config.Target{
		{Name: "in", Context: url, Outputs: toDir("out/in")},
		{Name: "beside", Context: url, Dockerfile: "cwd://d/my.file", Outputs: toDir("out/beside")},
		{Name: "inline", Context: url, DockerfileInline: "FROM scratch\nCOPY word /inline\n", Outputs: toDir("out/inline")},
	}}
	s.must(t)
	for _, name := range []string{"in", "beside", "inline"} {
		if got := read(t, dir, "out", name, name); got != "hello\n" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestGitContext builds from a repository that the daemon clones.
func TestGitContext(t *testing.T) {
	repo := files(t, filepath.Join(t.TempDir(), "repo"), map[string]string{
		"Dockerfile": "FROM scratch\nCOPY word /out\n", "word": "root\n",
		"sub/Dockerfile": "FROM scratch\nCOPY word /out\n", "sub/word": "sub\n",
	})
	git := func(args ...string) string {
		t.Helper()
		cmd := osexec.Command("git", append([]string{"-C", repo, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	srv := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(git("--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(repo), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	})
	defer srv.Close()
	url := srv.URL + "/repo/.git"
	dir := files(t, t.TempDir(), map[string]string{"word": "here\n", "Dockerfile": "FROM scratch\nCOPY --from=far word /out\nCOPY word /here\n"})
	s := &session{dir: dir, targets: []*config.Target{
		{Name: "root", Context: config.Remote{URL: url + "#main"}, Outputs: toDir("root")},
		{Name: "sub", Context: config.Remote{URL: url + "#main:sub"}, Outputs: toDir("sub")},
		{Name: "named", Contexts: []config.NamedSource{{Name: "far", From: config.Remote{URL: url + "#main:sub"}}}, Outputs: toDir("named")},
		{Name: "reader", DockerfileInline: "FROM scratch\nCOPY --from=root out /out\n", Contexts: []config.NamedSource{from("root", "root")}, Outputs: toDir("reader")},
	}}
	s.must(t)
	for name, want := range map[string]string{"root": "root\n", "sub": "sub\n", "named": "sub\n", "reader": "root\n"} {
		if got := read(t, dir, name, "out"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	s = &session{dir: dir, targets: []*config.Target{{Name: "bad", Context: config.Remote{URL: strings.Replace(url, "http://", "http://me:hunter22@", 1) + "#nosuch"}}}}
	_, err := s.run(t, t.Context())
	if err == nil || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("error is %v", err)
	}
}
