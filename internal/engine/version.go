package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"runtime/debug"
)

func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// build tells yesterday's build of a version from today's.
func build() string {
	sum := sha256.Sum256([]byte(buildID()))
	return hex.EncodeToString(sum[:6])
}

// isOf reports whether the engine is part of this very kiln.
func (s Status) isOf(o Options) bool { return s.Version == o.Version && s.Build == build() }

// buildKitVersion is the version of the BuildKit module linked in.
func buildKitVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/moby/buildkit" {
			if m.Replace != nil {
				m = m.Replace
			}
			return m.Version
		}
	}
	return ""
}
