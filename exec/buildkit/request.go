package buildkit

import (
	"strings"

	"github.com/kilnbuild/kiln/config"
)

// A Request is what a target asks of a daemon, in BuildKit's terms and before
// anything is read or connected. It encodes as JSON for `kiln plan`; it holds
// names and places of secrets, never their values.
type Request struct {
	Target   string            // name of the target
	Frontend string            // "dockerfile.v0" or "gateway.v0"
	Attrs    map[string]string // frontend attributes
	Locals   []Mount           `json:",omitempty"` // directories the frontend may read, by name
	Inline   string            `json:",omitempty"` // text of the Dockerfile, if the build file holds it
	// Dockerfile is the path of the Dockerfile as a person would name it:
	// relative to the working directory where it is local.
	Dockerfile   string
	Inputs       []Input         `json:",omitempty"` // results of other targets
	Layouts      []Layout        `json:",omitempty"` // OCI layouts on this machine
	FromStore    []StoredContext `json:",omitempty"` // images of kiln's store
	Tags         []string        `json:",omitempty"`
	Exports      []Export        `json:",omitempty"`
	Stored       bool            `json:",omitempty"` // without an output, the image goes to kiln's store
	CacheFrom    []Cache         `json:",omitempty"`
	CacheTo      []Cache         `json:",omitempty"`
	Secrets      []config.Secret `json:",omitempty"`
	Logins       []Login         `json:"-"` // taken out of addresses
	SSH          []config.SSH    `json:",omitempty"`
	Entitlements []string        `json:",omitempty"`
	Attested     bool            `json:",omitempty"` // some output carries attestations
	Policies     []string        `json:",omitempty"` // files of source policies
	Unguarded    bool            `json:",omitempty"` // source policies are disabled
	Call         string          `json:",omitempty"` // a question to the frontend in place of a build
}

// isIndex reports whether an image of the target is an index in every output:
// of several platforms, or with attestations that the target asks for.
func (r *Request) isIndex() bool {
	return strings.Contains(r.Attrs["platform"], ",") || !onlyDefaultProvenance(r.Attrs)
}

// A Mount is a directory that a build reads under a name.
type Mount struct{ Name, Dir string }

// An Input is the result of a target, under the name that a Dockerfile uses.
type Input struct{ Name, Target string }

// A Layout is an image in an OCI layout, under the name that a Dockerfile
// uses. With neither Tag nor Digest it is the tag "latest".
type Layout struct {
	Name   string
	Path   string
	Tag    string `json:",omitempty"`
	Digest string `json:",omitempty"`
}

// An Export is one output: BuildKit's exporter with its attributes.
type Export struct {
	Type  string
	Dest  string            `json:",omitempty"` // file or directory, "-" is standard output
	Attrs map[string]string `json:",omitempty"`
}

// A Cache is a cache source or destination.
type Cache struct {
	Type  string
	Attrs map[string]string `json:",omitempty"`
}
