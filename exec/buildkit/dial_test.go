package buildkit_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// TestHelpers reaches the engine through stand-ins for docker and its kin.
func TestHelpers(t *testing.T) {
	socket := strings.TrimPrefix(testenv.Engine(t), "unix://")
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"docker", "podman", "nerdctl", "kubectl", "ssh"} {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(t.TempDir(), "args")
	t.Setenv("PATH", bin)
	t.Setenv("KILN_TEST_DIAL_LOG", log)
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	for _, tt := range []struct{ addr, args string }{
		{"docker-container://builder", "exec -i builder buildctl dial-stdio"},
		{"docker-container://builder?context=far", "--context=far exec -i builder buildctl dial-stdio"},
		{"podman-container://builder", "exec -i builder buildctl dial-stdio"},
		{"nerdctl-container://builder?namespace=n", "exec --namespace n -i builder buildctl dial-stdio"},
		{"kube-pod://pod?namespace=n&container=c", "pod"},
		{"ssh://user@host", "user"},
	} {
		t.Run(tt.addr, func(t *testing.T) {
			t.Setenv(dialStdio, socket)
			conn, err := buildkit.Dial(t.Context(), buildkit.DialOptions{Addr: tt.addr, Timeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if conn.Version() == "" || len(conn.Platforms()) == 0 {
				t.Errorf("version %q, platforms %q", conn.Version(), conn.Platforms())
			}
			if got := read(t, log); !strings.Contains(got, tt.args) || !strings.Contains(got, "dial-stdio") {
				t.Errorf("it was run as %q, want %q in it", got, tt.args)
			}
			s := &session{dir: dir, conn: conn, targets: []*config.Target{{Name: "app"}}}
			s.must(t)
		})
	}
	t.Run("no such container", func(t *testing.T) {
		t.Setenv(dialStdio, socket)
		wantNoDaemon(t, buildkit.DialOptions{Addr: "docker-container://nosuch"}, "No such container: nosuch")
	})
	t.Run("no such program", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		wantNoDaemon(t, buildkit.DialOptions{Addr: "docker-container://builder"}, `the program "docker" is not installed`)
	})
}

func wantNoDaemon(t *testing.T, o buildkit.DialOptions, want string) {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	begin := time.Now()
	conn, err := buildkit.Dial(t.Context(), o)
	if err == nil {
		conn.Close()
		t.Fatalf("%s: no error, want %q", o.Addr, want)
	}
	if !errors.Is(err, buildkit.ErrNoDaemon) || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v\nwant %q", err, want)
	}
	if took := time.Since(begin); took > 4*time.Minute {
		t.Errorf("took %v", took)
	}
}

// A proxy carries connections to the engine's socket, from plain text or TLS.
func proxy(t *testing.T, l net.Listener) string {
	t.Helper()
	socket := strings.TrimPrefix(testenv.Engine(t), "unix://")
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				d, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				defer d.Close()
				go io.Copy(d, c)
				io.Copy(c, d)
			})
		}
	})
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// certificates writes those of an authority, a server and a client.
func certificates(t *testing.T, dir string) {
	t.Helper()
	issue := func(name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		change(c)
		if ca == nil {
			ca, caKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		files(t, dir, map[string]string{
			name + ".pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			name + ".key": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})),
		})
		return c, key
	}
	authority := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	ca, key := issue("ca", nil, nil, authority)
	issue("other-ca", nil, nil, authority)
	issue("server", ca, key, func(c *x509.Certificate) { c.DNSNames = []string{"daemon.test"} })
	issue("client", ca, key, func(*x509.Certificate) {})
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, dir, "ca.pem")))
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	secure := "tcp://" + proxy(t, tls.NewListener(listen(), &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"}}))
	plain := "tcp://" + proxy(t, listen())
	file := func(name string) string { return filepath.Join(dir, name) }
	good := buildkit.TLSFiles{CA: file("ca.pem"), Cert: file("client.pem"), Key: file("client.key"), ServerName: "daemon.test"}

	for _, o := range []buildkit.DialOptions{{Addr: secure, TLS: good}, {Addr: plain}} {
		conn, err := buildkit.Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		src := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
		s := &session{dir: src, conn: conn, targets: []*config.Target{{Name: "app", Outputs: toDir("out")}}}
		s.must(t)
		conn.Close()
	}

	with := func(change func(*buildkit.TLSFiles)) buildkit.TLSFiles {
		f := good
		change(&f)
		return f
	}
	silent := listen()
	defer silent.Close()
	for _, tt := range []struct {
		name string
		o    buildkit.DialOptions
		want string
	}{
		{"plain to TLS", buildkit.DialOptions{Addr: secure}, "the daemon expects TLS"},
		{"TLS to plain", buildkit.DialOptions{Addr: plain, TLS: good}, "the daemon speaks plain text"},
		{"wrong name", buildkit.DialOptions{Addr: secure, TLS: with(func(f *buildkit.TLSFiles) { f.ServerName = "foo" })}, `is made for daemon.test, not for "foo"`},
		{"no client certificate", buildkit.DialOptions{Addr: secure, TLS: with(func(f *buildkit.TLSFiles) { f.Cert, f.Key = "", "" })}, "asks for a client certificate, and none is given"},
		{"wrong client certificate", buildkit.DialOptions{Addr: secure, TLS: with(func(f *buildkit.TLSFiles) { f.Cert, f.Key = file("other-ca.pem"), file("other-ca.key") })}, "refuses the client certificate"},
		{"wrong authority", buildkit.DialOptions{Addr: secure, TLS: with(func(f *buildkit.TLSFiles) { f.CA = file("other-ca.pem") })}, "signed by an authority that is not trusted"},
		{"no such file", buildkit.DialOptions{Addr: secure, TLS: with(func(f *buildkit.TLSFiles) { f.CA = file("nosuch") })}, "read the authority's certificate"},
		{"no certificate in it", buildkit.DialOptions{Addr: secure, TLS: with(func(f *buildkit.TLSFiles) { f.CA = file("ca.key") })}, "holds no certificate"},
		{"key without certificate", buildkit.DialOptions{Addr: secure, TLS: with(func(f *buildkit.TLSFiles) { f.Cert = "" })}, "a key its certificate"},
		{"nobody", buildkit.DialOptions{Addr: "tcp://127.0.0.1:1"}, "nobody listens there"},
		{"silence", buildkit.DialOptions{Addr: "tcp://" + silent.Addr().String(), Timeout: 2 * time.Second}, "accepts the connection but does not answer"},
		{"no socket", buildkit.DialOptions{Addr: "unix://" + file("none.sock")}, "there is no such socket"},
		{"no address", buildkit.DialOptions{Addr: "somewhere"}, `"somewhere" is not an address`},
		{"empty address", buildkit.DialOptions{Addr: "unix://"}, "names no place"},
		{"no scheme", buildkit.DialOptions{Addr: "carrier-pigeon://x"}, "carrier-pigeon:// is not a way to a daemon"},
		{"TLS to a container", buildkit.DialOptions{Addr: "docker-container://x", TLS: good}, "only tcp:// uses them"},
		{"password", buildkit.DialOptions{Addr: "http://user:hunter22@x"}, "http://xxxxx@x"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantNoDaemon(t, tt.o, tt.want) })
	}
}

// TestDialer uses connections that somebody else makes.
func TestDialer(t *testing.T) {
	socket := strings.TrimPrefix(testenv.Engine(t), "unix://")
	conn, err := buildkit.Dial(t.Context(), buildkit.DialOptions{Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dir := files(t, t.TempDir(), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	s := &session{dir: dir, conn: conn, targets: []*config.Target{{Name: "app", Outputs: toDir("out")}}}
	s.must(t)
}
