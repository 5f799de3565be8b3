//go:build linux

package engine

import (
	"os"
	"slices"
	"strings"
)

// handedDown are the variables of the starter's environment that the engine
// and its runtime work with; a name that ends in "*" stands for all that begin
// so. No other is handed down: an engine outlives the build that starts it, it
// serves others, and every program that it runs has what it has. What a build
// needs of the environment comes by the build's session.
var handedDown = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ",
	"XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", // runc asks systemd for an ordinary user's cgroups
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR", "GORACE",
	"LD_LIBRARY_PATH", "ROOTLESSKIT_STATE_DIR",
	"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", // where an s3 cache finds its keys
	"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED",
	"BUILDKIT_*", // BuildKit's own settings; those that may be secret are in kept
}

// kept are the variables that begin as one of handedDown does and yet stay.
var kept = []string{"BUILDKIT_AZURE_*", "BUILDKIT_HOST"}

// environOf returns what of an environment is handed down.
func environOf(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if listed(handedDown, name) && !listed(kept, name) {
			out = append(out, kv)
		}
	}
	return out
}

func listed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		prefix, open := strings.CutSuffix(entry, "*")
		return name == entry || open && strings.HasPrefix(name, prefix)
	})
}

// clearEnviron takes out of this process's environment what an engine must
// not have, for an engine that was started by hand.
func clearEnviron() {
	keep := environOf(os.Environ())
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !slices.Contains(keep, kv) && !strings.HasPrefix(name, "KILN_") && name != "TMPDIR" {
			os.Unsetenv(name)
		}
	}
}
