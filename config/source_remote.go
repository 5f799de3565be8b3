package config

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

var (
	scheme   = regexp.MustCompile(`^[a-zA-Z0-9]+://`)
	scpStyle = regexp.MustCompile(`^[a-zA-Z0-9-_]+@[a-zA-Z0-9-.]+:`)
)

// isRemote reports whether BuildKit, not kiln, fetches s: an HTTP URL or a
// git repository, in the notations that BuildKit takes.
func isRemote(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") || isGit(s)
}

// IsGit reports whether s names a git repository in a notation that BuildKit
// takes, possibly with a reference and a directory after "#" or "?".
func IsGit(s string) bool { return isGit(s) }

// IsRemote reports whether s is a git repository or an HTTP URL.
func IsRemote(s string) bool { return isRemote(s) }

func isGit(s string) bool {
	switch {
	case strings.HasPrefix(s, "./"), strings.HasPrefix(s, "../"):
		return false
	case strings.HasPrefix(s, "github.com/"):
		_, err := url.Parse(s)
		return err == nil
	case !scheme.MatchString(s):
		return scpStyle.MatchString(s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "git", "ssh":
		return true
	case "http", "https":
		return strings.HasSuffix(u.Path, ".git")
	}
	return false
}

// withSubdir returns the address of a directory within a git repository.
func withSubdir(remote, dir string) string {
	dir = path.Clean(dir)
	if dir == "." || !isGit(remote) {
		return remote
	}
	base, fragment, hasFragment := strings.Cut(remote, "#")
	ref, within, _ := strings.Cut(fragment, ":")
	if within != "" && path.Clean(within) == "." {
		return base + "#" + ref + ":" + dir
	}
	if u, err := url.Parse(remote); err == nil && !hasFragment {
		if q := u.Query(); q.Has("subdir") {
			q.Set("subdir", path.Join(q.Get("subdir"), dir))
			u.RawQuery = q.Encode()
			return u.String()
		}
	}
	return base + "#" + ref + ":" + path.Join(within, dir)
}
