package docker

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dialStdio names a socket in the environment of a stand-in for ssh: this
// program, which then does what `docker system dial-stdio` would do there.
const dialStdio = "KILN_TEST_DIAL_STDIO"

func TestMain(m *testing.M) {
	if path := os.Getenv(dialStdio); path != "" {
		conn, err := net.Dial("unix", path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() { _, _ = io.Copy(conn, os.Stdin); os.Exit(0) }()
		_, _ = io.Copy(os.Stdout, conn)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"unix:///run/d.sock": "unix:///run/d.sock",
		"/run/d.sock":        "unix:///run/d.sock",
		"tcp://host:2376":    "tcp://host:2376",
		"https://host:2376":  "tcp://host:2376",
		"host:2375":          "tcp://host:2375",
		"ssh://me@host":      "ssh://me@host",
		"tcp://":             "",
		"unix://":            "",
		"npipe:////./pipe/d": "",
		"ftp://host":         "",
	} {
		got, err := ParseHost(in)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("ParseHost(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

// writeContext writes a context as the docker command does.
func writeContext(t *testing.T, dir, name, meta string) {
	t.Helper()
	path := filepath.Join(dir, "contexts", "meta", idOf(name), "meta.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(meta), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestContexts(t *testing.T) {
	dir := t.TempDir()
	writeContext(t, dir, "zoo", `{"Name":"zoo","Endpoints":{"docker":{"Host":"ssh://me@zoo"}}}`)
	writeContext(t, dir, "ant", `{"Name":"ant","Endpoints":{"docker":{"Host":"tcp://ant:2376"}}}`)
	writeContext(t, dir, "kube", `{"Name":"kube","Endpoints":{"kubernetes":{}}}`)
	writeContext(t, dir, "broken", `{`)
	certs := filepath.Join(dir, "contexts", "tls", idOf("ant"), "docker")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	all := Settings{Dir: dir}.Contexts()
	want := []Endpoint{
		{Name: "default", Host: DefaultHost, From: "the usual socket"},
		{Name: "ant", Host: "tcp://ant:2376", TLS: TLS{Dir: certs}, From: "the context ant"},
		{Name: "zoo", Host: "ssh://me@zoo", From: "the context zoo"},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("Contexts (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		name string
		s    Settings
		host string // of the engine
		err  string
	}{
		{"nothing said", Settings{Dir: dir}, DefaultHost, ""},
		{"DOCKER_HOST before DOCKER_CONTEXT", Settings{Dir: dir, Host: "tcp://h:1", Context: "zoo"}, "tcp://h:1", ""},
		{"DOCKER_CONTEXT", Settings{Dir: dir, Context: "zoo"}, "ssh://me@zoo", ""},
		{"the default context by name", Settings{Dir: dir, Context: "default"}, DefaultHost, ""},
		{"a context that is not there", Settings{Dir: dir, Context: "zo"}, "", `DOCKER_CONTEXT: "zo": there is no such Docker context`},
		{"a broken context", Settings{Dir: dir, Context: "broken"}, "", `read the Docker context "broken"`},
		{"a context of something else", Settings{Dir: dir, Context: "kube"}, "", "it names no Docker Engine"},
		{"a wrong DOCKER_HOST", Settings{Dir: dir, Host: "npipe://x"}, "", "DOCKER_HOST: "},
		{"no configuration", Settings{Context: "zoo"}, "", "there is no such Docker context"},
	} {
		e, err := tt.s.Default()
		if tt.err == "" && (err != nil || e.Host != tt.host) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %+v, %v, want %q %q", tt.name, e, err, tt.host, tt.err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"currentContext":"zoo"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if e, err := (Settings{Dir: dir}).Default(); err != nil || e.Name != "zoo" || e.From != "the Docker client's configuration: the context zoo" {
		t.Errorf("the current context: %+v, %v", e, err)
	}
	tlsHost := Settings{Dir: dir, Host: "tcp://h:1", TLSVerify: true, CertPath: "/certs"}
	if e, err := tlsHost.Default(); err != nil || e.TLS != (TLS{Dir: "/certs"}) {
		t.Errorf("DOCKER_TLS_VERIFY: %+v, %v", e, err)
	}
	if e, err := (Settings{Dir: dir, Host: "tcp://h:1", TLS: true}).Default(); err != nil || e.TLS != (TLS{Dir: dir, SkipVerify: true}) {
		t.Errorf("DOCKER_TLS: %+v, %v", e, err)
	}
}

// A stand-in for a Docker Engine, of which a test can say what it answers.
type standIn struct {
	info   string
	header http.Header
	push   string // messages of a push
	auth   string // who pushed
	pushed string // path and query
	upper  string // protocol that was asked for
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for k, v := range s.header {
		w.Header()[k] = v
	}
	switch {
	case r.URL.Path == "/info":
		_, _ = io.WriteString(w, s.info)
	case strings.HasSuffix(r.URL.Path, "/push") && s.push == "":
		http.Error(w, `{"message":"no such image"}`, http.StatusNotFound)
	case strings.HasSuffix(r.URL.Path, "/push"):
		s.auth, s.pushed = r.Header.Get("X-Registry-Auth"), r.URL.String()
		_, _ = io.WriteString(w, s.push)
	case r.URL.Path == "/session", r.URL.Path == "/grpc" && s.upper != "none":
		s.upper = r.Header.Get("Upgrade") + " " + r.Header.Get("X-Meta")
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: " + r.Header.Get("Upgrade") + "\r\n\r\nfirst ")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("said " + line)
		_ = rw.Flush()
	default:
		http.Error(w, `{"message":"page not found"}`, http.StatusNotFound)
	}
}

// serve starts a stand-in on a socket, and returns its address.
func serve(t *testing.T, s *standIn) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kd") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	srv.Start()
	t.Cleanup(srv.Close)
	return "unix://" + l.Addr().String()
}

const oldInfo = `{"Name":"m","ServerVersion":"20.10.24","OSType":"linux","Architecture":"x86_64","Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]]}`

func connect(t *testing.T, host string) *Engine {
	t.Helper()
	e, err := Connect(t.Context(), Endpoint{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestConnect(t *testing.T) {
	for _, tt := range []struct {
		s    standIn
		want Info
	}{
		{standIn{info: oldInfo}, Info{Name: "m", Version: "20.10.24", OS: "linux", Arch: "amd64", Driver: "overlay2"}},
		{standIn{info: `{"ServerVersion":"29.0.0","OSType":"linux","Architecture":"aarch64","Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}`},
			Info{Version: "29.0.0", OS: "linux", Arch: "arm64", Driver: "overlayfs", Containerd: true}},
		{standIn{info: `{"OSType":"linux"}`, header: http.Header{"Libpod-Api-Version": {"4.3.1"}}}, Info{OS: "linux", Podman: true}},
	} {
		if diff := cmp.Diff(tt.want, connect(t, serve(t, &tt.s)).Info); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.s.info, diff)
		}
	}
}

// Errors of a connection say what can be done.
func TestConnectErrors(t *testing.T) {
	secure := httptest.NewUnstartedServer(&standIn{info: oldInfo})
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(&standIn{info: oldInfo})
	t.Cleanup(plain.Close)
	addr := func(s *httptest.Server) string { return "tcp://" + s.Listener.Addr().String() }
	certs := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, "ca.pem"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		at   Endpoint
		want string // "" is none
	}{
		{"by its authority", Endpoint{Host: addr(secure), TLS: TLS{Dir: certs}}, ""},
		{"by none", Endpoint{Host: addr(secure), TLS: TLS{Dir: t.TempDir(), SkipVerify: true}}, ""},
		{"unknown authority", Endpoint{Host: addr(secure), TLS: TLS{Dir: t.TempDir()}}, "is it the right DOCKER_CERT_PATH?"},
		{"plain text to TLS", Endpoint{Host: addr(secure)}, "does it ask for TLS (DOCKER_TLS_VERIFY)?"},
		{"TLS to plain text", Endpoint{Host: addr(plain), TLS: TLS{Dir: certs}}, "it speaks plain text"},
		{"nobody", Endpoint{Host: "tcp://127.0.0.1:1"}, "nobody listens there; is Docker started?"},
		{"no socket", Endpoint{Host: "unix:///nowhere/d.sock"}, "is Docker installed, and started?"},
		{"no host", Endpoint{Host: "tcp://host.invalid:1"}, "host.invalid"},
		{"no address", Endpoint{Host: "ftp://x"}, "is not the address of a Docker Engine"},
	} {
		e, err := Connect(t.Context(), tt.at)
		switch {
		case err == nil && tt.want == "":
			e.Close()
		case err == nil || tt.want == "" || !errors.Is(err, ErrNoEngine) || !strings.Contains(err.Error(), tt.want):
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Connect(t.Context(), Endpoint{Host: "ssh://me@host"}); err == nil || !strings.Contains(err.Error(), `the program "ssh" is not installed`) {
		t.Errorf("without ssh: %v", err)
	}
}

// By ssh, the program of that name makes the connection.
func TestConnectBySSH(t *testing.T) {
	host := serve(t, &standIn{info: oldInfo})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >%s/args\n%s='%s' exec '%s'\n", bin, dialStdio, strings.TrimPrefix(host, "unix://"), self)
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e := connect(t, "ssh://me@far:2222")
	if e.Info.Version != "20.10.24" {
		t.Errorf("the engine says %+v", e.Info)
	}
	talk(t, func(ctx context.Context) (net.Conn, error) { return e.BuildKit(ctx) })
	args, err := os.ReadFile(filepath.Join(bin, "args"))
	if err != nil || !strings.Contains(string(args), "far") || !strings.Contains(string(args), "2222") || !strings.Contains(string(args), "dial-stdio") {
		t.Errorf("ssh was called with %q, %v", args, err)
	}
}

// talk says a line over a connection that was handed over.
func talk(t *testing.T, dial func(context.Context) (net.Conn, error)) {
	t.Helper()
	conn, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || got != "first said hello\n" {
		t.Errorf("the other side says %q, %v", got, err)
	}
}

func TestHijack(t *testing.T) {
	s := &standIn{info: oldInfo}
	e := connect(t, serve(t, s))
	talk(t, e.BuildKit)
	if s.upper != "h2c " {
		t.Errorf("BuildKit was asked for as %q", s.upper)
	}
	talk(t, func(ctx context.Context) (net.Conn, error) {
		return e.Session(ctx, "h2c", map[string][]string{"X-Meta": {"mine"}})
	})
	if s.upper != "h2c mine" {
		t.Errorf("the session was asked for as %q", s.upper)
	}
	s.upper = "none"
	if _, err := e.BuildKit(t.Context()); !errors.Is(err, ErrNoBuildKit) {
		t.Errorf("an engine without BuildKit: %v", err)
	}
}

// An engine that accepts a connection and says nothing is given up.
func TestHijackEnds(t *testing.T) {
	s := &standIn{info: oldInfo}
	e := connect(t, serve(t, s))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(context.WithoutCancel(ctx), "tcp", l.Addr().String())
	}
	late := func(ctx context.Context) (net.Conn, error) { // the time is up before anything is asked
		conn, err := dial(ctx)
		if err == nil {
			<-ctx.Done()
			err = conn.Close()
		}
		return conn, err
	}
	for name, dial := range map[string]func(context.Context) (net.Conn, error){"says nothing": dial, "connects late": late} {
		e.dial = dial
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := e.BuildKit(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that %s: error is %v", name, err)
		}
	}
}

func TestPush(t *testing.T) {
	s := &standIn{info: oldInfo, push: `{"status":"Pushing"}` + "\n" + `{"aux":{"Tag":"1","Digest":"sha256:abc","Size":7}}` + "\n"}
	e := connect(t, serve(t, s))
	login := Login{Username: "me", Password: "secret", ServerAddress: "reg:5000"}
	digest, err := e.Push(t.Context(), "reg:5000/team/app:1", login)
	if err != nil || digest != "sha256:abc" || s.pushed != "/images/reg:5000/team/app/push?tag=1" {
		t.Errorf("pushed %q as %q: %v", digest, s.pushed, err)
	}
	text, err := base64.URLEncoding.DecodeString(s.auth)
	if err != nil {
		t.Fatal(err)
	}
	var got Login
	if err := json.Unmarshal(text, &got); err != nil || got != login {
		t.Errorf("pushed as %+v, %v", got, err)
	}
	if _, err := e.Push(t.Context(), "app", Login{}); err != nil || s.pushed != "/images/app/push?tag=latest" {
		t.Errorf("a name without tag is pushed as %q: %v", s.pushed, err)
	}
	for _, tt := range []struct{ push, ref, want string }{
		{`{"status":"Pushing"}` + "\n" + `{"errorDetail":{"message":"denied"},"error":"denied: no"}` + "\n", "app", "the Docker Engine says: denied: no"},
		{`{"status":"Pushing"}`, "app", "ended without a digest"},
		{`{"stat`, "app", "unexpected EOF"},
		{"", "app", "the Docker Engine answers 404: no such image"},
		{"{}", "app@sha256:" + strings.Repeat("0", 64), "by tag, not by digest"},
		{"{}", "App", "invalid reference format"},
	} {
		s.push = tt.push
		if _, err := e.Push(t.Context(), tt.ref, Login{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error is %v, want %q", tt.push, err, tt.want)
		}
	}
}
