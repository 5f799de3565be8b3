package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Options say which engine is meant and how it behaves. Those of a running
// engine are the ones it was started with.
type Options struct {
	StateDir     string        // holds the engine's data in "engine" and its log; absolute
	RuntimeDir   string        // holds the socket; absolute, private to the user
	Runtime      string        // path of the OCI runtime; "" looks for one
	Idle         time.Duration // without use for so long, the engine ends; 0 is never
	CacheMax     int64         // bytes that the build cache may take; 0 decides by the size of the disk
	Entitlements []string      // what builds may ask for: "network.host", "security.insecure"
	Records      int           // records of builds that are kept, for metadata files and buildx's history; 0 is none
	Steps        int           // most RUN steps at once; 0 decides by the number of CPUs
	LogLevel     string        // of the engine's log: "error", "warning", "info" or "debug"
	Version      string        // of this kiln; builds of one version are told apart besides
}

// A Variable is an environment variable that DefaultOptions reads.
type Variable struct{ Name, Doc string }

// Variables lists what DefaultOptions reads, in the order a person would want.
func Variables() []Variable { return slices.Clone(variables) }

var variables = []Variable{
	{"KILN_STATE_DIR", "directory of kiln's state: the engine's data and log (default $XDG_STATE_HOME/kiln or ~/.local/state/kiln)"},
	{"KILN_RUNTIME_DIR", "directory of the engine's socket (default $XDG_RUNTIME_DIR/kiln; for root without that, /run/kiln)"},
	{"KILN_RUNTIME", "path or name of the OCI runtime for RUN steps (default: runc beside kiln, then buildkit-runc, runc or crun in PATH)"},
	{"KILN_ENGINE_IDLE", "the engine ends after so long without use (default 10m; 0 keeps it)"},
	{"KILN_ENGINE_CACHE", "most the engine's build cache may take, as 20GB (default: a fifth of the disk, 2GB to 50GB)"},
	{"KILN_ENGINE_ALLOW", "entitlements the engine grants to builds that ask, by commas (default network.host)"},
	{"KILN_ENGINE_RECORDS", "how many records of builds the engine keeps, for provenance in metadata files and for buildx history; they make builds slower (default 0)"},
	{"KILN_ENGINE_LOG", "level of the engine's log: error, warning, info or debug (default info)"},
}

const (
	defaultIdle = 10 * time.Minute
	envVersion  = "KILN_ENGINE_VERSION" // from a starter to the engine: only cmd/kiln knows its version
	maxSocket   = 107                   // bytes of a unix socket's path, unix(7)
)

// DefaultOptions are the options that the environment asks for. It makes no
// directory. The error names the variable that is wrong.
func DefaultOptions(getenv func(string) string) (Options, error) {
	o := Options{
		Idle:         defaultIdle,
		Entitlements: []string{"network.host"},
		LogLevel:     "info",
		Version:      getenv(envVersion),
	}
	if o.Version == "" {
		o.Version = moduleVersion()
	}
	var err error
	if o.StateDir, err = stateDir(getenv); err != nil {
		return o, err
	}
	if o.Runtime = getenv("KILN_RUNTIME"); strings.Contains(o.Runtime, "/") {
		if o.Runtime, err = filepath.Abs(o.Runtime); err != nil { // the engine works in another directory
			return o, err
		}
	}
	if o.RuntimeDir, err = runtimeDir(getenv, o.StateDir); err != nil {
		return o, err
	}
	if v := getenv("KILN_ENGINE_IDLE"); v != "" {
		if o.Idle, err = parseIdle(v); err != nil {
			return o, err
		}
	}
	if v := getenv("KILN_ENGINE_CACHE"); v != "" {
		if o.CacheMax, err = parseSize(v); err != nil {
			return o, err
		}
	}
	if v := getenv("KILN_ENGINE_ALLOW"); v != "" {
		if o.Entitlements, err = parseEntitlements(v); err != nil {
			return o, err
		}
	}
	if v := getenv("KILN_ENGINE_RECORDS"); v != "" {
		if o.Records, err = strconv.Atoi(v); err != nil || o.Records < 0 {
			return o, fmt.Errorf("KILN_ENGINE_RECORDS=%q: want a number such as 50, or 0 for none", v)
		}
	}
	if v := getenv("KILN_ENGINE_LOG"); v != "" {
		if !slices.Contains([]string{"error", "warning", "info", "debug"}, v) {
			return o, fmt.Errorf("KILN_ENGINE_LOG=%q: want error, warning, info or debug", v)
		}
		o.LogLevel = v
	}
	return o, nil
}

func parseIdle(v string) (time.Duration, error) {
	if v == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("KILN_ENGINE_IDLE=%q: want a duration such as 10m, or 0 for never", v)
	}
	return d, nil
}

func parseSize(v string) (int64, error) {
	n, err := units.FromHumanSize(v)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("KILN_ENGINE_CACHE=%q: want a size such as 20GB", v)
	}
	return n, nil
}

func parseEntitlements(v string) ([]string, error) {
	known := []string{"network.host", "security.insecure"}
	list := []string{}
	for e := range strings.SplitSeq(v, ",") {
		e = strings.TrimSpace(e)
		switch {
		case e == "none" || e == "":
		case slices.Contains(known, e):
			list = append(list, e)
		default:
			return nil, fmt.Errorf("KILN_ENGINE_ALLOW: unknown entitlement %q: want some of %s, or none", e, strings.Join(known, ","))
		}
	}
	return list, nil
}

// stateDir follows the XDG base directory specification.
func stateDir(getenv func(string) string) (string, error) {
	if v := getenv("KILN_STATE_DIR"); v != "" {
		return filepath.Abs(v)
	}
	if v := getenv("XDG_STATE_HOME"); filepath.IsAbs(v) { // "All paths must be absolute": others are to be ignored
		return filepath.Join(v, "kiln"), nil
	}
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", fmt.Errorf("no directory for kiln's state: HOME is not set; set KILN_STATE_DIR")
	}
	return filepath.Join(home, ".local/state/kiln"), nil
}

// runtimeDir picks the directory of the socket: the first of several whose
// path leaves room for the socket's name. A directory that the user named is
// taken or refused, never replaced.
func runtimeDir(getenv func(string) string, state string) (string, error) {
	if v := getenv("KILN_RUNTIME_DIR"); v != "" {
		dir, err := filepath.Abs(v)
		if err != nil {
			return "", err
		}
		if n := len(socketPath(dir, state)); n > maxSocket {
			return "", fmt.Errorf("KILN_RUNTIME_DIR=%q is too long: the engine's socket would have a path of %d bytes, and the system allows %d; name a shorter directory", v, n, maxSocket)
		}
		return dir, nil
	}
	var dirs []string
	if v := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(v) && isOwn(v) {
		dirs = append(dirs, filepath.Join(v, "kiln"))
	}
	if os.Geteuid() == 0 && isOwn("/run") {
		dirs = append(dirs, "/run/kiln")
	}
	dirs = append(dirs, filepath.Join(state, "run"), filepath.Join("/tmp", "kiln-"+strconv.Itoa(os.Geteuid())))
	for _, dir := range dirs {
		if len(socketPath(dir, state)) <= maxSocket {
			return dir, nil
		}
	}
	return dirs[len(dirs)-1], nil // not reached: the last is short
}

// socketPath names the socket after the state directory, so that engines of
// different ones can share a runtime directory.
func socketPath(dir, state string) string {
	sum := sha256.Sum256([]byte(state))
	return filepath.Join(dir, "engine-"+hex.EncodeToString(sum[:4])+".sock")
}

func (o Options) socket() string { return socketPath(o.RuntimeDir, o.StateDir) }

// root is the directory that BuildKit works in. A stock buildkitd could use it
// too, if no engine does.
func (o Options) root() string { return filepath.Join(o.StateDir, "engine") }

// environ is how the options travel to the process that serves: DefaultOptions
// gives them back there.
func (o Options) environ() []string {
	size := ""
	if o.CacheMax > 0 {
		size = strconv.FormatInt(o.CacheMax, 10)
	}
	allow := strings.Join(o.Entitlements, ",")
	if allow == "" {
		allow = "none"
	}
	return []string{
		"KILN_STATE_DIR=" + o.StateDir,
		"KILN_RUNTIME_DIR=" + o.RuntimeDir,
		"KILN_RUNTIME=" + o.Runtime,
		"KILN_ENGINE_IDLE=" + o.Idle.String(),
		"KILN_ENGINE_CACHE=" + size,
		"KILN_ENGINE_ALLOW=" + allow,
		"KILN_ENGINE_RECORDS=" + strconv.Itoa(o.Records),
		"KILN_ENGINE_LOG=" + o.LogLevel,
		envVersion + "=" + o.Version,
	}
}
