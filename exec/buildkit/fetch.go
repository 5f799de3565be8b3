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
	Defaults  []string // of the files to take where they are there, if Names is empty
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
// repository or a file of a web server.
func IsURL(url string) bool {
	if IsGit(url) {
		return true
	}
	_, _, isHTTP := dockerui.DetectHTTPContext(url)
	return isHTTP
}

// Fetch has the daemon fetch a remote definition. The files of a repository
// come in the order of the names; a web server's file comes alone, under its URL.
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
		return nil, fmt.Errorf("fetch the definition %s: %w", redactURL(r.URL), err)
	}
	return files, nil
}

// source is what the daemon has to fetch, the name of the file if that is a
// web server's, and what the daemon may ask of kiln meanwhile.
func (r FetchRequest) source() (*llb.State, string, []session.Attachable, error) {
	keepGitDir := false
	st, isGit, err := dockerui.DetectGitContext(r.URL, &keepGitDir, llb.GitAdvice(r.GitAdvice))
	if isGit {
		if err != nil {
			return nil, "", nil, fmt.Errorf("%s: %w", redactURL(r.URL), err)
		}
		return st, "", r.gitAccess(), nil
	}
	st, filename, isHTTP := dockerui.DetectHTTPContext(r.URL)
	if !isHTTP {
		return nil, "", nil, fmt.Errorf("%s is neither a git repository nor the address of a file", redactURL(r.URL))
	}
	return st, filename, nil, nil
}

// gitAccess offers the user's credentials to the daemon's git, for the
// repository's own host only.
func (r FetchRequest) gitAccess() []session.Attachable {
	var out []session.Attachable
	if agent, err := sshprovider.NewSSHAgentProvider([]sshprovider.AgentConfig{{ID: "default", Paths: r.SSH}}); err == nil {
		out = append(out, agent) // without an agent, git over SSH tells what it lacks
	}
	secrets := map[string][]byte{}
	if u, err := gitutil.ParseURL(r.URL); err == nil && u.Host != "" {
		if r.GitToken != "" {
			secrets[llb.GitAuthTokenKey+"."+u.Host] = []byte(r.GitToken)
		}
		if r.GitHeader != "" {
			secrets[llb.GitAuthHeaderKey+"."+u.Host] = []byte(r.GitHeader)
		}
	}
	return append(out, secretsprovider.FromMap(secrets))
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
			if optional && isNotExist(err) {
				continue
			}
			return nil, err
		}
		data, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: name})
		if err != nil {
			return nil, err
		}
		out = append(out, FetchedFile{Name: name, Data: data})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the repository has none of %s; name the file with -f", strings.Join(names, ", "))
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
