package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"runtime/debug"
)

// buildVersion is kiln's version with the identity of this build, so that an
// engine of yesterday's build is told from one of today's.
func buildVersion() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	id := buildID()
	if id == "" {
		return version
	}
	sum := sha256.Sum256([]byte(id))
	return version + "+" + hex.EncodeToString(sum[:6])
}

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
