package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/util/archiveutil"
	"github.com/moby/buildkit/util/gitutil"
)

// maxDefinition is the size of the largest definition that is one file of a
// web server.
const maxDefinition = 2 << 20

// A FetchRequest asks for definition files that the daemon can reach.
type FetchRequest struct {
	URL       string   // a git repository, possibly with "#ref:dir", or a file of a web server
	Names     []string // of the files in a repository, in order; each has to be there
	Defaults  []string // of the files to take where they are there, if Names is empty; all in the repository's root
	GitToken  string   // for the repository's host; "" if there is none
	GitHeader string   // the whole Authorization header, in place of a token
	SSH       []string // keys or a socket for git over SSH; none is the agent of SSH_AUTH_SOCK
	GitAdvice bool     // let git tell of a detached checkout
}

// A FetchedFile is a definition file that the daemon fetched.
type FetchedFile struct {
	Name string
	Data []byte
}

// IsGit reports whether BuildKit takes url for a git repository.
func IsGit(url string) bool {
	_, isGit, err := dfgitutil.ParseGitRef(url)
	return isGit && err == nil
}

// IsURL reports whether url names a definition that a daemon fetches: a git
// repository or a file of a web server. One that asks the repository for what
// it cannot is such a URL, too, and Fetch says what is wrong with it.
func IsURL(url string) bool {
	if _, isGit, _ := dfgitutil.ParseGitRef(url); isGit {
		return true
	}
	_, _, isHTTP := dockerui.DetectHTTPContext(url)
	return isHTTP
}

// Fetch has the daemon fetch a remote definition. The files of a repository
// come in the order of the names; a web server's file comes alone, under its
// URL. There are none where the repository has none of the defaults. What may
// work a moment later fails with an [exec.NetworkError].
func (c *Conn) Fetch(ctx context.Context, r FetchRequest) ([]FetchedFile, error) {
	st, filename, attachables, err := r.source()
	if err != nil {
		return nil, err
	}
	var files []FetchedFile
	_, err = c.client.Build(ctx, client.SolveOpt{Session: attachables, Internal: true}, "kiln", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		ref, err := solveState(ctx, gw, st)
		if err != nil {
			return nil, err
		}
		if filename != "" {
			files, err = r.readWebFile(ctx, ref, filename)
		} else {
			files, err = r.readRepository(ctx, ref)
		}
		return nil, err
	}, nil)
	if err != nil {
		told := fmt.Errorf("fetch the definition %s: %w", redactURL(r.URL), r.explain(err))
		if n := network(err, redactURL(err.Error())); n != nil && c.Alive(ctx) == nil {
			n.Err = told
			return nil, n
		}
		return nil, told
	}
	return files, nil
}

// explain words what a daemon could not fetch, with what would help.
func (r FetchRequest) explain(err error) error {
	text := redactURL(strings.TrimPrefix(err.Error(), "failed to solve: "))
	for _, t := range gitTroubles {
		if strings.Contains(text, t.text) {
			text += "\n" + t.remedy
			break
		}
	}
	return &daemonError{text: text, err: err}
}

// gitTroubles are what goes wrong with a daemon's git, by the words of git
// itself, which come as text, and the remedies.
var gitTroubles = []struct{ text, remedy string }{
	{noGit, noGitRemedy},
	{"terminal prompts disabled", tokenRemedy},
	{"Authentication failed", tokenRemedy},
	{"forwarded from the client", "The repository is fetched by SSH: start an SSH agent (eval $(ssh-agent)), or name a key or an agent's socket in BUILDX_BAKE_GIT_SSH"},
	{"Host key verification failed", "The builder does not know the key of that host"},
}

const (
	noGit       = "unknown scheme git" // a daemon that began without git does not know repositories
	noGitRemedy = "BuildKit fetches repositories with git, which is not installed, or not in PATH, where the builder runs; install it there (Debian: apt-get install git) and start the builder again (kiln's own: kiln engine stop)"
	tokenRemedy = "The server asks who is there: set BUILDX_BAKE_GIT_AUTH_TOKEN to a token, or BUILDX_BAKE_GIT_AUTH_HEADER to the value of an Authorization header"
)

// source is what the daemon has to fetch, the name of the file if that is a
// web server's, and what the daemon may ask of kiln meanwhile.
func (r FetchRequest) source() (*llb.State, string, []session.Attachable, error) {
	keepGitDir := false
	var login *Login
	r.URL, login = splitLogin(r.URL)
	st, isGit, err := dockerui.DetectGitContext(r.URL, &keepGitDir, llb.GitAdvice(r.GitAdvice))
	if isGit {
		if err != nil {
			return nil, "", nil, fmt.Errorf("%s: %w", redactURL(r.URL), err)
		}
		access, err := r.gitAccess(login)
		return st, "", access, err
	}
	st, filename, isHTTP := dockerui.DetectHTTPContext(r.URL)
	if !isHTTP {
		return nil, "", nil, fmt.Errorf("%s is neither a git repository nor the address of a file", redactURL(r.URL))
	}
	if login == nil {
		return st, filename, nil, nil
	}
	secret := secretsprovider.FromMap(map[string][]byte{login.ID: []byte(login.Header)})
	return st, filename, []session.Attachable{secret}, nil
}

// gitAccess offers the user's credentials to the daemon's git, for the
// repository's own host only.
func (r FetchRequest) gitAccess(login *Login) ([]session.Attachable, error) {
	var out []session.Attachable
	u, urlErr := gitutil.ParseURL(r.URL)
	agent, err := sshprovider.NewSSHAgentProvider([]sshprovider.AgentConfig{{ID: "default", Paths: r.SSH}})
	switch {
	case err == nil:
		out = append(out, agent)
	case len(r.SSH) > 0 && urlErr == nil && u.Scheme == gitutil.SSHProtocol:
		return nil, fmt.Errorf("SSH for %s: %w", redactURL(r.URL), err)
	} // else, without an agent, git over SSH tells what it lacks
	secrets := map[string][]byte{}
	if host := GitHost(r.URL); host != "" {
		if r.GitToken != "" {
			secrets[llb.GitAuthTokenKey+"."+host] = []byte(r.GitToken)
		}
		if r.GitHeader != "" {
			secrets[llb.GitAuthHeaderKey+"."+host] = []byte(r.GitHeader)
		}
	}
	if login != nil {
		secrets[login.ID] = []byte(login.Header)
	}
	return append(out, secretsprovider.FromMap(secrets)), nil
}

// GitHost returns the host of a git repository's address, with its port if
// that is in it; "" if there is none.
func GitHost(url string) string {
	u, err := gitutil.ParseURL(url)
	if err != nil {
		return ""
	}
	return u.Host
}

// IsGitSSH reports whether url is a git repository that is fetched by SSH.
func IsGitSSH(url string) bool {
	u, err := gitutil.ParseURL(url)
	return err == nil && u.Scheme == gitutil.SSHProtocol
}

func (r FetchRequest) readWebFile(ctx context.Context, ref gateway.Reference, filename string) ([]FetchedFile, error) {
	stat, err := ref.StatFile(ctx, gateway.StatRequest{Path: filename})
	if err != nil {
		return nil, err
	}
	if stat.Size > maxDefinition {
		return nil, fmt.Errorf("the file has %s; a definition may have %s", units.HumanSize(float64(stat.Size)), units.HumanSize(maxDefinition))
	}
	data, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: filename})
	if err != nil {
		return nil, err
	}
	if archiveutil.IsArchive(data) {
		return nil, errors.New("the file is an archive; name a git repository, or unpack it and build from the directory")
	}
	return []FetchedFile{{Name: r.URL, Data: data}}, nil
}

func (r FetchRequest) readRepository(ctx context.Context, ref gateway.Reference) ([]FetchedFile, error) {
	names, optional := r.Names, false
	if len(names) == 0 {
		names, optional = r.Defaults, true
	}
	var out []FetchedFile
	for _, name := range names {
		if _, err := ref.StatFile(ctx, gateway.StatRequest{Path: name}); err != nil {
			switch {
			case optional && isNotExist(err):
				continue
			case isNotExist(err):
				return nil, fmt.Errorf("the repository has no file %q; a file of this machine is cwd://%s", name, name)
			}
			return nil, err
		}
		data, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: name})
		if err != nil {
			return nil, err
		}
		out = append(out, FetchedFile{Name: name, Data: data})
	}
	return out, nil
}

// isNotExist reports whether the daemon says that a file is not there. The
// daemon sends the error of its stat as text.
func isNotExist(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "no such file or directory")
}

func solveState(ctx context.Context, gw gateway.Client, st *llb.State) (gateway.Reference, error) {
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}
