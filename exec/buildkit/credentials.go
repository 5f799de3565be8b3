package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"

	kilnconfig "github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/registry"
)

// credentials are the secrets, SSH agents and registry logins of a run.
type credentials struct {
	s       *Solver
	secrets secretStore               // of the jobs in the shared build
	ssh     map[string]kilnconfig.SSH // by ID, likewise
	offered []session.Attachable      // by the run's session
	logins  *registry.Logins
}

// prepareCredentials checks that all secrets and agents are there, before
// anything starts. A job whose secret has the ID of another's, but is another
// secret, gets a build and so a session of its own.
func (s *Solver) prepareCredentials() error {
	c := &credentials{s: s, secrets: secretStore{s: s, by: map[string]kilnconfig.Secret{}}, ssh: map[string]kilnconfig.SSH{}}
	s.creds = c
	var errs []error
	if err := c.loadLogins(); err != nil {
		errs = append(errs, err)
	}
	for _, j := range s.order {
		c.hide(j)
		c.defaultSSH(j)
		if !j.late {
			if err := c.check(j); err != nil {
				errs = append(errs, fmt.Errorf("target %s: %w", j.name, err))
			}
		}
		j.clash = c.clashes(j)
		if j.clash || j.force {
			continue // it has a session of its own
		}
		for _, sec := range j.req.Secrets {
			c.secrets.by[sec.ID] = sec
		}
		for _, a := range j.req.SSH {
			c.ssh[sshID(a)] = a
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var agents []kilnconfig.SSH
	for _, j := range s.order { // a fixed order: which error is first must not change
		for _, a := range j.req.SSH {
			if !j.clash && !j.force && !slices.ContainsFunc(agents, func(b kilnconfig.SSH) bool { return sshID(a) == sshID(b) }) {
				agents = append(agents, a)
			}
		}
	}
	shared, err := c.attach(c.secrets, agents)
	c.offered = append(shared, c.auth())
	return err
}

func (c *credentials) loadLogins() (err error) {
	c.logins, err = registry.LoadLogins(c.s.opt.DockerConfig, c.s.opt.AuthFiles)
	return err
}

// shared returns what the run's session offers.
func (c *credentials) shared() []session.Attachable { return slices.Clone(c.offered) }

// auth answers registries that ask who is there, from the Docker client's
// configuration and its credential helpers, and from Podman's.
func (c *credentials) auth() session.Attachable {
	docker := authprovider.LoadAuthConfig(c.logins.Docker())
	load := func(ctx context.Context, host string, scopes []string, expired authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
		auth, err := docker(ctx, host, scopes, expired)
		if err != nil {
			return auth, err
		}
		return c.logins.Else(auth, host, scopes)
	}
	return &watchedAuth{
		AuthServer: authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: load}).(auth.AuthServer),
		redact:     c.s.redact,
	}
}

// of returns what the session of one job offers.
func (c *credentials) of(j *job) ([]session.Attachable, error) {
	store := secretStore{s: c.s, by: map[string]kilnconfig.Secret{}, logins: j.req.Logins}
	for _, sec := range j.req.Secrets {
		store.by[sec.ID] = sec
	}
	return c.attach(store, j.req.SSH)
}

func (c *credentials) attach(store secretStore, agents []kilnconfig.SSH) ([]session.Attachable, error) {
	out := []session.Attachable{secretsprovider.NewSecretProvider(store)}
	if len(agents) == 0 {
		return out, nil
	}
	var conf []sshprovider.AgentConfig
	for _, a := range agents {
		conf = append(conf, sshprovider.AgentConfig{ID: sshID(a), Paths: c.sshPaths(a)})
	}
	p, err := sshprovider.NewSSHAgentProvider(conf)
	if err != nil {
		return nil, fmt.Errorf("ssh: %w", err)
	}
	return append(out, p), nil
}

func sshID(a kilnconfig.SSH) string {
	if a.ID == "" {
		return "default"
	}
	return a.ID
}

func (c *credentials) sshPaths(a kilnconfig.SSH) []string {
	if len(a.Paths) == 0 {
		return []string{c.s.opt.Getenv("SSH_AUTH_SOCK")}
	}
	var out []string
	for _, p := range a.Paths {
		out = append(out, c.s.abs(p))
	}
	return out
}

// defaultSSH offers the agent to a build whose context is fetched by SSH.
func (c *credentials) defaultSSH(j *job) {
	url := j.req.Attrs["context"]
	bySSH := strings.HasPrefix(url, "git@") || strings.HasPrefix(url, "ssh://")
	if bySSH && len(j.req.SSH) == 0 && c.s.opt.Getenv("SSH_AUTH_SOCK") != "" {
		j.req.SSH = []kilnconfig.SSH{{ID: "default"}}
	}
}

// check reports secrets and agents that are not there.
func (c *credentials) check(j *job) error {
	var errs []error
	for _, sec := range j.req.Secrets {
		if sec.ID == "" {
			errs = append(errs, errors.New("a secret has no id"))
			continue
		}
		if path := c.secrets.file(sec); path != "" {
			fi, err := os.Stat(path)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("secret %q: %w", sec.ID, err))
			case fi.Size() > secretsprovider.MaxSecretSize:
				errs = append(errs, fmt.Errorf("secret %q: %s is larger than the 500 kB that a secret may have", sec.ID, path))
			case !fi.Mode().IsRegular():
				continue // a pipe can be read once
			}
		}
		_, _ = c.secrets.value(sec) // from now on it is shown nowhere; whoever needs it is told if it is not there
	}
	for _, a := range j.req.SSH {
		if len(a.Paths) == 0 && c.s.opt.Getenv("SSH_AUTH_SOCK") == "" {
			errs = append(errs, fmt.Errorf("ssh %q: there is no SSH agent: SSH_AUTH_SOCK is not set. Start one, or name a key file", sshID(a)))
		}
	}
	return errors.Join(errs...)
}

// clashes reports whether the job means something else by an ID than a job
// before it.
func (c *credentials) clashes(j *job) bool {
	for _, sec := range j.req.Secrets {
		if have, ok := c.secrets.by[sec.ID]; ok && have != sec {
			return true
		}
	}
	for _, a := range j.req.SSH {
		if have, ok := c.ssh[sshID(a)]; ok && !slices.Equal(have.Paths, a.Paths) {
			return true
		}
	}
	return false
}

// A secretStore answers builds that ask for a secret by its ID.
type secretStore struct {
	s      *Solver
	by     map[string]kilnconfig.Secret
	logins []Login
}

// file returns the file of a secret, "" if it comes from the environment.
func (st secretStore) file(sec kilnconfig.Secret) string {
	switch {
	case sec.Env != "":
		return ""
	case sec.Src != "":
		return st.s.abs(sec.Src)
	case st.s.opt.Getenv(sec.ID) != "":
		return ""
	}
	return st.s.abs(sec.ID)
}

// GetSecret implements secrets.SecretStore.
func (st secretStore) GetSecret(_ context.Context, id string) ([]byte, error) {
	sec, ok := st.by[id]
	if !ok {
		return st.login(id)
	}
	return st.value(sec)
}

// value reads a secret, and makes it known as one.
func (st secretStore) value(sec kilnconfig.Secret) ([]byte, error) {
	if path := st.file(sec); path != "" {
		data, err := os.ReadFile(path)
		st.s.redact.add(data)
		return data, err
	}
	env := sec.Env
	if env == "" {
		env = sec.ID
	}
	value := st.s.opt.Getenv(env)
	if value == "" {
		return nil, fmt.Errorf("secret %s: the environment variable %s is not set: %w", sec.ID, env, secrets.ErrNotFound)
	}
	st.s.redact.add([]byte(value))
	return []byte(value), nil
}
