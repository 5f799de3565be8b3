// Package gitfacts tells of the git work tree that builds are made from: for
// expressions (git.commit and its kin) and for what an image says of its
// source. It asks the git command, only when a fact is wanted, and remembers
// the answers. It writes nothing, not even git's index.
package gitfacts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	osexec "os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	// ErrNoGit says that there is no git command; all of this package return it.
	ErrNoGit = errors.New("git is not installed, or not in PATH")
	// ErrNoWorkTree says that a directory is in no work tree.
	ErrNoWorkTree = errors.New("this is not in a git work tree")
	// ErrNoCommit says that a repository has no commit yet.
	ErrNoCommit = errors.New("the git repository has no commit yet")
)

// A Fact is one thing that expressions can ask for.
type Fact struct{ Name, Doc string }

// Facts lists what Repo.Fact answers, in the order of a reference.
func Facts() []Fact {
	return []Fact{
		{"commit", "the commit, all its digits"},
		{"short", "the commit, as few digits as tell it apart"},
		{"branch", "the branch; empty if none is checked out"},
		{"tag", "the tag of the commit, the highest version of several; empty if it has none"},
		{"describe", "the nearest tag, the commits since and the commit, as of git describe --tags --always --dirty"},
		{"dirty", "true if files differ from the commit, or are new and not ignored"},
		{"time", "when the commit was made, RFC 3339 in UTC"},
	}
}

// Info is what an image says of its source. An empty field is not known.
type Info struct {
	Revision string // the commit; "" if there is none yet
	Source   string // address of the remote, credentials masked
	Root     string // absolute path of the work tree
}

// A Repo is the work tree around a directory. Goroutines may share it.
type Repo struct {
	// ctx is kept because facts are asked for by expressions, which know of
	// no context; a Repo lives as long as the command that opened it.
	ctx context.Context
	dir string
	// alone says that it is not the user's own work tree: what the environment
	// says to git of that does not hold, and nothing is fetched.
	alone bool
	root  func() (string, error)
	head  func() (head, error)

	mu    sync.Mutex        // guards known
	known map[string]answer // by fact
}

type answer struct {
	value string
	err   error
}

// head is the commit that is checked out.
type head struct{ commit, short, time string }

// Open returns the work tree around dir, which need not be in one: that is
// told by the first question. It starts nothing.
func Open(ctx context.Context, dir string) *Repo {
	r := &Repo{ctx: ctx, dir: dir, known: map[string]answer{}}
	r.root = sync.OnceValues(r.findRoot)
	r.head = sync.OnceValues(r.readHead)
	return r
}

// Fact returns the fact of that name, see Facts. An error says why it cannot
// be known.
func (r *Repo) Fact(name string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.known[name]
	if !ok {
		a.value, a.err = r.ask(name)
		r.known[name] = a
	}
	return a.value, a.err
}

func (r *Repo) ask(name string) (string, error) {
	if _, err := r.root(); err != nil {
		return "", err
	}
	if name == "branch" { // there is one even before the first commit
		return r.branch()
	}
	if name == "dirty" {
		dirty, err := r.changed()
		return strconv.FormatBool(dirty), err
	}
	h, err := r.head()
	if err != nil {
		return "", err
	}
	switch name {
	case "commit":
		return h.commit, nil
	case "short":
		return h.short, nil
	case "time":
		return h.time, nil
	case "tag":
		tags, err := r.git("tag", "--points-at", "HEAD", "--sort=-version:refname")
		first, _, _ := strings.Cut(tags, "\n")
		return first, err
	case "describe":
		return r.git("describe", "--tags", "--always", "--dirty")
	}
	return "", fmt.Errorf("there is no fact git.%s", name)
}

// Info returns what an image says of its source. A repository without a
// commit or a remote is no error.
func (r *Repo) Info() (Info, error) {
	root, err := r.root()
	if err != nil {
		return Info{}, err
	}
	h, err := r.head()
	if err != nil && !errors.Is(err, ErrNoCommit) {
		return Info{}, err
	}
	return Info{Revision: h.commit, Source: r.source(), Root: root}, nil
}

// Dirty reports whether the work tree holds anything that its commit does not,
// ignored files included.
func (r *Repo) Dirty() (bool, error) {
	if _, err := r.root(); err != nil {
		return false, err
	}
	out, err := r.git("status", "--porcelain", "--ignored")
	return out != "", err
}

// changed reports whether tracked files differ or there are new ones.
func (r *Repo) changed() (bool, error) {
	out, err := r.git("status", "--porcelain")
	return out != "", err
}

// Files returns the files in the directory and below that git keeps or would
// keep: not those that are ignored. Paths are relative to the directory. It
// may name files that were removed since.
func (r *Repo) Files() ([]string, error) {
	if _, err := r.root(); err != nil {
		return nil, err
	}
	out, err := r.git("ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z")
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(out, func(c rune) bool { return c == 0 }), nil
}

func (r *Repo) findRoot() (string, error) {
	root, err := r.git("rev-parse", "--show-toplevel")
	var exit *osexec.ExitError
	switch {
	case errors.As(err, &exit):
		return "", fmt.Errorf("%s: %w%s", r.dir, ErrNoWorkTree, because(exit.Stderr))
	case err == nil && root == "": // a bare repository, or inside of .git
		return "", fmt.Errorf("%s: %w", r.dir, ErrNoWorkTree)
	}
	return root, err
}

// because gives git's own words, unless they only repeat ours.
func because(stderr []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(stderr)), "\n")
	line = strings.TrimPrefix(line, "fatal: ")
	if line == "" || strings.HasPrefix(line, "not a git repository") {
		return ""
	}
	return " (" + line + ")"
}

func (r *Repo) readHead() (head, error) {
	if _, err := r.git("rev-parse", "--quiet", "--verify", "HEAD^{commit}"); err != nil {
		var exit *osexec.ExitError
		if errors.As(err, &exit) {
			return head{}, ErrNoCommit
		}
		return head{}, err
	}
	out, err := r.git("show", "--no-patch", "--no-show-signature", "--no-notes", "--format=%H %h %ct", "HEAD")
	if err != nil {
		return head{}, err
	}
	fields := strings.Fields(out)
	if len(fields) != 3 {
		return head{}, fmt.Errorf("git show: unexpected answer %q", out)
	}
	seconds, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return head{}, fmt.Errorf("git show: %w", err)
	}
	return head{fields[0], fields[1], time.Unix(seconds, 0).UTC().Format(time.RFC3339)}, nil
}

// branch returns the name of the branch, or "" if none is checked out.
func (r *Repo) branch() (string, error) {
	name, err := r.git("symbolic-ref", "--quiet", "--short", "HEAD")
	var exit *osexec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	return name, err
}

// source returns the address of the remote that the branch follows, else of
// origin, else of upstream; "" if there is none.
func (r *Repo) source() string {
	remotes := []string{"origin", "upstream"}
	if branch, err := r.branch(); err == nil && branch != "" {
		if name, err := r.git("config", "--get", "branch."+branch+".remote"); err == nil && name != "" && name != "." {
			remotes = slices.Insert(remotes, 0, name)
		}
	}
	for _, name := range remotes {
		if address, err := r.git("remote", "get-url", "--", name); err == nil && address != "" {
			return masked(address)
		}
	}
	return ""
}

// masked hides user and password of an address, as bake does.
func masked(address string) string {
	const mask = "xxxxx"
	u, err := url.Parse(address)
	if err != nil {
		scheme, rest, isURL := strings.Cut(address, "://")
		if at := strings.LastIndex(rest, "@"); isURL && at >= 0 {
			return scheme + "://" + mask + rest[at:]
		}
		return address // host:path
	}
	user := u.User.Username()
	if user != "" {
		user = mask
	}
	switch _, secret := u.User.Password(); {
	case secret:
		u.User = url.UserPassword(user, mask)
	case user != "":
		u.User = url.User(user)
	}
	return u.String()
}

// git runs git in the directory and returns what it printed, without the
// final line end.
func (r *Repo) git(args ...string) (string, error) {
	args = append([]string{"-c", "core.fsmonitor=false"}, args...)
	cmd := osexec.CommandContext(r.ctx, "git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(r.environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0")
	var stdout bytes.Buffer
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *osexec.ExitError
	switch {
	case errors.Is(err, osexec.ErrNotFound):
		return "", ErrNoGit
	case r.ctx.Err() != nil:
		return "", context.Cause(r.ctx)
	case errors.As(err, &exit):
		exit.Stderr = stderr.Bytes()
		return "", fmt.Errorf("git %s: %w%s", args[2], exit, because(exit.Stderr))
	case err != nil:
		return "", fmt.Errorf("git %s: %w", args[2], err)
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}
