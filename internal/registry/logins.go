package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Logins are the credentials that Docker and Podman keep for registries, in
// their files and by their credential helpers. Goroutines may share them; a
// helper is asked once for each registry.
type Logins struct {
	docker     *configfile.ConfigFile
	containers []containersFile // in the order in which they are asked

	mu    sync.Mutex // guards known
	known map[string]authn.AuthConfig
}

// A containersFile is an auth.json of Podman, Skopeo and Buildah. It has
// Docker's form, and may have logins for a part of a registry.
type containersFile struct {
	*configfile.ConfigFile
	parts map[string]types.AuthConfig // by "registry/namespace"
}

// dockerHub is the key of Docker Hub in the configuration of Docker.
const dockerHub = authn.DefaultAuthKey

// LoadLogins reads the Docker client's configuration in a directory, "" for
// none, and the auth.json files that are there. A file that is there and can't
// be read is an error.
func LoadLogins(dockerDir string, containers []string) (*Logins, error) {
	l := &Logins{docker: configfile.New(""), known: map[string]authn.AuthConfig{}}
	if dockerDir != "" {
		f, err := config.Load(dockerDir)
		if err != nil {
			return nil, fmt.Errorf("read the registry credentials: %w", err)
		}
		l.docker = f
	}
	for _, path := range containers {
		f, err := loadContainers(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the registry credentials in %s: %w", path, err)
		}
		l.containers = append(l.containers, f)
	}
	return l, nil
}

func loadContainers(path string) (containersFile, error) {
	r, err := os.Open(path)
	if err != nil {
		return containersFile{}, err
	}
	defer r.Close()
	f := containersFile{ConfigFile: configfile.New(path), parts: map[string]types.AuthConfig{}}
	if err := f.LoadFromReader(r); err != nil {
		return f, err
	}
	for key, auth := range f.AuthConfigs {
		if !strings.Contains(key, "://") && strings.Contains(key, "/") && !strings.HasSuffix(key, "/v1/") {
			f.parts[key] = auth
			delete(f.AuthConfigs, key)
		}
	}
	return f, nil
}

// Docker returns the Docker client's configuration, for who needs more of it
// than the credentials.
func (l *Logins) Docker() *configfile.ConfigFile { return l.docker }

// Of returns the credentials for a registry, "docker.io" or "localhost:5000",
// or for a repository of it; none are the zero value. Docker's win, then those
// of the auth.json files, in their order.
func (l *Logins) Of(repository string) (types.AuthConfig, error) {
	host, path, _ := strings.Cut(repository, "/")
	key := host
	if host == name.DefaultRegistry || host == "docker.io" {
		host, key = "docker.io", dockerHub
		repository = host + "/" + path
	}
	auth, err := l.docker.GetAuthConfig(key)
	if err != nil {
		return auth, fmt.Errorf("read the credentials for %s: %w", host, err)
	}
	return l.inFiles(auth, repository, host)
}

// Else returns auth, which Docker has for a registry, unless that is none, and
// then what an auth.json has for the registry, or for the repository that is
// the first of the scopes ("repository:team/app:pull").
func (l *Logins) Else(auth types.AuthConfig, host string, scopes []string) (types.AuthConfig, error) {
	if host == "registry-1.docker.io" {
		host = "docker.io"
	}
	repository := host
	for _, s := range scopes {
		if rest, ok := strings.CutPrefix(s, "repository:"); ok {
			path, _, _ := strings.Cut(rest, ":")
			repository = host + "/" + path
			break
		}
	}
	return l.inFiles(auth, repository, host)
}

// inFiles returns auth unless that is none, and else what the first auth.json
// has that has something.
func (l *Logins) inFiles(auth types.AuthConfig, repository, host string) (types.AuthConfig, error) {
	for _, f := range l.containers {
		if !isEmpty(auth) {
			break
		}
		var err error
		if auth, err = f.of(repository, host); err != nil {
			return auth, fmt.Errorf("read the credentials for %s in %s: %w", host, f.Filename, err)
		}
	}
	return auth, nil
}

// of returns the login for the longest part of the repository that has one.
func (f containersFile) of(repository, host string) (types.AuthConfig, error) {
	for part := repository; strings.Contains(part, "/"); part = part[:strings.LastIndexByte(part, '/')] {
		if auth, ok := f.parts[part]; ok {
			return auth, nil
		}
	}
	return f.GetAuthConfig(host)
}

// isEmpty reports whether there is no login. Helpers answer for an unknown
// registry with its address alone.
func isEmpty(a types.AuthConfig) bool {
	a.ServerAddress = ""
	return a == types.AuthConfig{}
}

// Resolve implements authn.Keychain.
func (l *Logins) Resolve(r authn.Resource) (authn.Authenticator, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := r.String()
	auth, ok := l.known[key]
	if !ok {
		c, err := l.Of(key)
		if err != nil {
			return nil, err
		}
		auth = authn.AuthConfig{Username: c.Username, Password: c.Password, Auth: c.Auth, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
		l.known[key] = auth
	}
	if auth == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(auth), nil
}
