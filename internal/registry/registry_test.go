package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/cli/cli/config/types"
	reg "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kilnbuild/kiln/exec"
)

// write writes a file, with its directories.
func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func auth(user, password string) string {
	return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + `"}`
}

// Credentials come from Docker's configuration, its helpers, and then from the
// files of Podman, where a part of a registry may have a login of its own.
func TestLogins(t *testing.T) {
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	write(t, filepath.Join(dir, "bin", "docker-credential-kilntest"),
		"#!/bin/sh\nread host\necho $host >>"+calls+"\necho '{\"ServerURL\":\"'$host'\",\"Username\":\"helped\",\"Secret\":\"by-helper\"}'\n", 0o755)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	write(t, filepath.Join(dir, "docker", "config.json"), `{
		"auths": {"https://index.docker.io/v1/": `+auth("hub", "1")+`, "both.example": `+auth("docker", "2")+`},
		"credHelpers": {"helped.example": "kilntest"}}`, 0o600)
	first := write(t, filepath.Join(dir, "first.json"), `{"auths": {"both.example": `+auth("podman", "3")+`, "quay.example/team": `+auth("team", "4")+`,
		"quay.example/team/app": `+auth("app", "5")+`, "quay.example": `+auth("all", "6")+`}}`, 0o600)
	second := write(t, filepath.Join(dir, "second.json"), `{"auths": {"quay.example": `+auth("late", "7")+`, "late.example": `+auth("late", "8")+`, "docker.io/team": `+auth("never", "9")+`}}`, 0o600)
	l, err := LoadLogins(filepath.Join(dir, "docker"), []string{first, filepath.Join(dir, "none.json"), second})
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{
		"index.docker.io/library/app": "hub:1",
		"both.example/app":            "docker:2",
		"helped.example/app":          "helped:by-helper",
		"quay.example/team/app":       "app:5",
		"quay.example/team/other":     "team:4",
		"quay.example/teams":          "all:6",
		"late.example/x":              "late:8",
		"none.example/x":              ":",
	} {
		for range 2 {
			a, err := l.Resolve(resource(repository))
			if err != nil {
				t.Fatal(err)
			}
			c, err := a.Authorization()
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Username + ":" + c.Password; got != want {
				t.Errorf("%s: %s, want %s", repository, got, want)
			}
		}
	}
	for _, test := range []struct{ host, scope, docker, want string }{
		{"quay.example", "repository:team/app:pull,push", "", "app"},
		{"quay.example", "", "", "all"},
		{"registry-1.docker.io", "repository:team/app:pull", "", "never"},
		{"quay.example", "repository:team/app:pull", "docker", "docker"},
	} {
		got, err := l.Else(types.AuthConfig{Username: test.docker, ServerAddress: test.host}, test.host, []string{test.scope})
		if err != nil || got.Username != test.want {
			t.Errorf("%s %s: %s (%v), want %s", test.host, test.scope, got.Username, err, test.want)
		}
	}
	if asked, err := os.ReadFile(calls); err != nil || string(asked) != "helped.example\n" {
		t.Errorf("the helper was asked for %q (%v)", asked, err)
	}
	if _, err := LoadLogins("", []string{write(t, filepath.Join(dir, "broken.json"), "{", 0o600)}); err == nil || !strings.Contains(err.Error(), "broken.json") {
		t.Errorf("a broken file: %v", err)
	}
}

// resource is a repository, as go-containerregistry asks for it.
type resource string

func (r resource) String() string { return string(r) }
func (r resource) RegistryStr() string {
	host, _, _ := strings.Cut(string(r), "/")
	return host
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ ref, want, scheme string }{
		{"app", "index.docker.io/library/app:latest", "https"},
		{"localhost:5000/x", "localhost:5000/x:latest", "http"},
		{"localhost/x:1", "localhost/x:1", "http"},
		{"127.0.0.2:5000/x:1", "127.0.0.2:5000/x:1", "http"},
		{"[::1]:5000/x:1", "[::1]:5000/x:1", "http"},
		{"example.com/a/b@sha256:" + strings.Repeat("a", 64), "example.com/a/b@sha256:" + strings.Repeat("a", 64), "https"},
	} {
		r, err := Options{}.Parse(test.ref)
		if err != nil || r.Name() != test.want || r.Context().Scheme() != test.scheme {
			t.Errorf("%s: %v (%v), want %s by %s", test.ref, r, err, test.want, test.scheme)
		}
	}
	if _, err := (Options{}).Parse("Upper"); err == nil {
		t.Error("a name in upper case was taken")
	}
}

// A private network is no loopback: nobody is asked there over HTTP, whatever
// go-containerregistry takes for local.
func TestNoPlainHTTP(t *testing.T) {
	asked := make(chan string, 1)
	inner := roundTripper(func(r *http.Request) (*http.Response, error) {
		select {
		case asked <- r.URL.Scheme:
		default:
		}
		return nil, errors.New("refused")
	})
	for _, host := range []string{"10.0.0.1:5000", "example.com", "192.168.1.1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&careful{inner: inner, silence: time.Minute}).RoundTrip(req); !errors.Is(err, ErrPlain) { //nolint:bodyclose // there is none
			t.Errorf("%s: %v", host, err)
		}
		if _, err := (&careful{inner: inner, silence: time.Minute, insecure: true}).RoundTrip(req); err == nil || <-asked != "http" { //nolint:bodyclose // there is none
			t.Errorf("%s with --insecure: %v", host, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What is wrong with a registry is told with what would help, and what may be
// over soon is an error of the network.
func TestExplain(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
		network bool
	}{
		"401":  {answer(401, ""), "answers 401 Unauthorized; log in with `docker login ", false},
		"403":  {answer(403, `{"errors":[{"code":"DENIED","message":"not yours"}]}`), `answers 403 Forbidden, "not yours"; log in`, false},
		"404":  {answer(404, ""), "answers 404 Not Found", false},
		"429":  {answer(429, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`), "answers 429 Too Many Requests", true},
		"500":  {answer(500, ""), "answers 500 Internal Server Error", true},
		"507":  {answer(507, ""), "answers 507 Insufficient Storage", false},
		"gone": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF", true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(test.handler)
			t.Cleanup(srv.Close)
			err := get(t, Options{}, strings.TrimPrefix(srv.URL, "http://"))
			check(t, err, test.want, test.network)
		})
	}
	check(t, get(t, Options{}, "127.0.0.1:1"), "connection refused", true)
	// A label of 64 letters no server of names has to be asked for.
	check(t, get(t, Options{}, strings.Repeat("n", 64)+".invalid"), "no such host", false)
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// get asks a registry for an image, and returns the error as it is told.
func get(t *testing.T, o Options, host string) error {
	t.Helper()
	ref, err := o.Parse(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = remote.Get(ref, append(o.Remote(), remote.WithContext(t.Context()))...)
	return Explain(host, err)
}

func check(t *testing.T, err error, want string, network bool) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	var n *exec.NetworkError
	if errors.As(err, &n) != network {
		t.Errorf("error of the network: %v, want %v: %v", !network, network, err)
	}
}

// A certificate that nobody knows is refused, unless the user says otherwise.
func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(reg.New(reg.Logger(log.New(io.Discard, "", 0))))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "https://")
	check(t, get(t, Options{}, host), "certificate", false)
	o := Options{Insecure: true}
	ref, err := o.Parse(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image, o.Remote()...); err != nil {
		t.Errorf("with --insecure: %v", err)
	}
}

// A registry that asks for a login gets that of the repository; a token
// server is asked for the token.
func TestLogin(t *testing.T) {
	inner := reg.New(reg.Logger(log.New(io.Discard, "", 0)))
	basic := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(basic.Close)
	var token *httptest.Server
	token = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, `{"token":"good"}`)
			return
		}
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+token.URL+`/token",service="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(token.Close)
	for _, srv := range []*httptest.Server{basic, token} {
		host := strings.TrimPrefix(srv.URL, "http://")
		file := write(t, filepath.Join(t.TempDir(), "auth.json"), `{"auths":{"`+host+`/app":`+auth("me", "secret")+`}}`, 0o600)
		logins, err := LoadLogins("", []string{file})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Logins: logins}
		ref, err := o.Parse(host + "/app:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, empty.Image, o.Remote()...); err != nil {
			t.Errorf("with a login: %v", err)
		}
		check(t, get(t, Options{}, host), "log in with", false)
	}
}

// Who says nothing, or takes nothing, is given up; who is slow is not.
func TestSilence(t *testing.T) {
	const silence, pause = 10 * time.Second, 9 * time.Second
	never := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	slow := func(r *http.Request) (*http.Response, error) {
		time.Sleep(pause)
		if r.Body != nil {
			if _, err := io.Copy(io.Discard, &pausing{r.Body, pause}); err != nil {
				return nil, err
			}
		}
		return &http.Response{Body: io.NopCloser(&pausing{strings.NewReader("four"), pause})}, nil
	}
	silentBody := func(r *http.Request) (*http.Response, error) {
		return &http.Response{Body: io.NopCloser(waiting{r.Context()})}, nil
	}
	for name, test := range map[string]struct {
		inner roundTripper
		body  string
		want  error
	}{
		"slow answer":  {slow, "", nil},
		"slow taker":   {slow, "five letters", nil},
		"no answer":    {never, "", ErrSilent},
		"takes none":   {never, "text", ErrSilent},
		"half silence": {silentBody, "", ErrSilent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &careful{inner: test.inner, silence: silence}
				var body io.Reader
				if test.body != "" {
					body = strings.NewReader(test.body)
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://localhost/x", body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := c.RoundTrip(req)
				if err == nil {
					time.Sleep(2 * silence) // our own business is no silence of theirs
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
			})
		})
	}
}

// A pausing reader takes a while for each byte.
type pausing struct {
	io.Reader
	pause time.Duration
}

func (p *pausing) Read(b []byte) (int, error) {
	time.Sleep(p.pause)
	return p.Reader.Read(b[:1])
}

// A waiting reader gives nothing until its context ends.
type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}
