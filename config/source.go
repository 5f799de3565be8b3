package config

import "strings"

// A Source is where files come from: Local, Remote, Image, FromTarget, Layout
// or Stored. String gives the notation of build files back.
type Source interface {
	String() string
	source()
}

type (
	// Local is a directory, relative to the working directory.
	Local struct{ Path string }
	// Remote is a URL that BuildKit fetches: a git repository or a file.
	Remote struct{ URL string }
	// Image is an image in a registry; Ref is a reference without scheme.
	Image struct{ Ref string }
	// FromTarget is the result of another target.
	FromTarget struct{ Target string }
	// Layout is an image in an OCI layout: "path[:tag][@digest]".
	Layout struct{ Ref string }
	// Stored is an image in kiln's own store; Ref is a reference or a digest.
	Stored struct{ Ref string }
)

func (s Local) String() string      { return s.Path }
func (s Remote) String() string     { return s.URL }
func (s Image) String() string      { return "docker-image://" + s.Ref }
func (s FromTarget) String() string { return "target:" + s.Target }
func (s Layout) String() string     { return "oci-layout://" + s.Ref }
func (s Stored) String() string     { return "store://" + s.Ref }

func (Local) source()      {}
func (Remote) source()     {}
func (Image) source()      {}
func (FromTarget) source() {}
func (Layout) source()     {}
func (Stored) source()     {}

// ParseSource reads the notation of build files. It is the only place that
// knows the prefixes.
func ParseSource(s string) Source {
	for _, p := range []struct {
		prefix string
		make   func(string) Source
	}{
		{"target:", func(r string) Source { return FromTarget{r} }},
		{"docker-image://", func(r string) Source { return Image{r} }},
		{"oci-layout://", func(r string) Source { return Layout{r} }},
		{"store://", func(r string) Source { return Stored{r} }},
	} {
		if rest, ok := strings.CutPrefix(s, p.prefix); ok {
			return p.make(rest)
		}
	}
	if isRemote(s) {
		return Remote{s}
	}
	return Local{s}
}
