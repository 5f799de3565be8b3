package docker

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// DefaultContext is the name of the context that no file holds: what the
// environment says, or the usual socket.
const DefaultContext = "default"

// Settings are what the Docker client's configuration and the environment
// say of engines.
type Settings struct {
	Dir       string // of the Docker client's configuration; "" is none
	Host      string // DOCKER_HOST
	Context   string // DOCKER_CONTEXT
	CertPath  string // DOCKER_CERT_PATH; "" is Dir
	TLSVerify bool   // DOCKER_TLS_VERIFY is set
	TLS       bool   // DOCKER_TLS is set: TLS, with any certificate
}

// ErrNoContext is returned, wrapped, for a context that does not exist.
var ErrNoContext = errors.New("there is no such Docker context")

// Default returns the engine that the docker command would use, by its own
// order: DOCKER_HOST, DOCKER_CONTEXT, the current context of its
// configuration, the usual socket.
func (s Settings) Default() (Endpoint, error) {
	if s.Host != "" {
		return s.environment()
	}
	name, from := s.Context, "DOCKER_CONTEXT"
	if name == "" {
		name, from = s.current(), "the Docker client's configuration"
	}
	if name == "" || name == DefaultContext {
		return s.environment()
	}
	e, err := s.Find(name)
	if err != nil {
		return e, fmt.Errorf("%s: %w", from, err)
	}
	e.From = fmt.Sprintf("%s: the context %s", from, name)
	return e, nil
}

// environment is the context "default".
func (s Settings) environment() (Endpoint, error) {
	e := Endpoint{Name: DefaultContext, Host: DefaultHost, From: "the usual socket"}
	if s.Host == "" {
		return e, nil
	}
	e.From = "DOCKER_HOST"
	var err error
	if e.Host, err = ParseHost(s.Host); err != nil {
		return e, fmt.Errorf("DOCKER_HOST: %w", err)
	}
	if strings.HasPrefix(e.Host, "tcp://") {
		e.TLS = s.EnvTLS()
	}
	return e, nil
}

// EnvTLS is how the environment secures an address without a context.
func (s Settings) EnvTLS() TLS {
	if !s.TLS && !s.TLSVerify {
		return TLS{}
	}
	return TLS{Dir: cmp.Or(s.CertPath, s.Dir, "."), SkipVerify: !s.TLSVerify}
}

// current is the context that `docker context use` has chosen; "" if none.
func (s Settings) current() string {
	var file struct {
		CurrentContext string `json:"currentContext"`
	}
	data, err := os.ReadFile(filepath.Join(s.Dir, "config.json"))
	if s.Dir == "" || err != nil || json.Unmarshal(data, &file) != nil {
		return "" // credentials tell of a broken file where they are needed
	}
	return file.CurrentContext
}

// Find returns the engine of a context. Where there is none the error is
// ErrNoContext.
func (s Settings) Find(name string) (Endpoint, error) {
	if name == DefaultContext {
		return s.environment()
	}
	e, err := s.read(filepath.Join(s.metaDir(), idOf(name)))
	switch {
	case s.Dir == "" || errors.Is(err, fs.ErrNotExist):
		return Endpoint{}, fmt.Errorf("%q: %w", name, ErrNoContext)
	case err != nil:
		return Endpoint{}, fmt.Errorf("read the Docker context %q: %w", name, err)
	}
	return e, nil
}

// Contexts returns all contexts, "default" first, the others by name. Files
// that cannot be read are left out: they are told of when they are used.
func (s Settings) Contexts() []Endpoint {
	var out []Endpoint
	if e, err := s.environment(); err == nil {
		out = append(out, e)
	}
	entries, err := os.ReadDir(s.metaDir())
	if s.Dir == "" || err != nil {
		return out
	}
	var more []Endpoint
	for _, entry := range entries {
		if e, err := s.read(filepath.Join(s.metaDir(), entry.Name())); err == nil && e.Name != "" {
			more = append(more, e)
		}
	}
	slices.SortFunc(more, func(a, b Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return append(out, more...)
}

func (s Settings) metaDir() string { return filepath.Join(s.Dir, "contexts", "meta") }

// idOf is the directory of a context, by its name.
func idOf(name string) string { return digest.FromString(name).Encoded() }

// read reads the file of a context, as docker/cli's context store writes it:
// contexts/meta/ID/meta.json, and certificates in contexts/tls/ID/docker.
func (s Settings) read(dir string) (Endpoint, error) {
	data, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return Endpoint{}, err
	}
	var meta struct {
		Name      string
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return Endpoint{}, err
	}
	docker, ok := meta.Endpoints["docker"]
	if !ok {
		return Endpoint{}, errors.New("it names no Docker Engine")
	}
	e := Endpoint{Name: meta.Name, From: "the context " + meta.Name}
	if e.Host, err = ParseHost(cmp.Or(docker.Host, DefaultHost)); err != nil {
		return Endpoint{}, err
	}
	certs := filepath.Join(s.Dir, "contexts", "tls", idOf(meta.Name), "docker")
	if _, err := os.Stat(certs); err == nil || docker.SkipTLSVerify {
		e.TLS = TLS{Dir: certs, SkipVerify: docker.SkipTLSVerify}
	}
	return e, nil
}
