// Package scaffold writes the first build file of a repository: a build.hcl
// that builds what is there.
//
//	find.go      Dockerfiles → targets    names, contexts, flavours of one image
//	variants.go  stages → variants        prod, dev, debug, test
//	links.go     images → contexts        what one Dockerfile builds and another begins from
//	sets.go      bake and Compose files   included where that gives the same, else written out
//	write.go     all of it → text
//
// It sees the repository through Input only: which files there are and what
// they say. Same input, same text.
package scaffold

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/config"
)

// An Input is what is known of a repository. Paths are relative to the
// directory of the new build file, with slashes.
type Input struct {
	Name        string // of the directory, or of the project
	Owner       string // of the repository, as in "github.com/OWNER/name"; "" is not known
	Dockerfiles []Dockerfile
	Sets        []Set
	// Has reports whether there is a file or directory.
	Has func(path string) bool
	// Holds reports whether a directory holds anything, at any depth, but
	// Dockerfiles, build files and ignore lists.
	Holds func(dir string) bool
	// Load evaluates build files as kiln build does.
	Load func(files []config.File) (*config.Config, hcl.Diagnostics)
}

// A Dockerfile is one that was found, with what it says by itself.
type Dockerfile struct {
	Path    string
	Stages  []string // names, "" of one without
	Images  []string // that it begins or copies from
	Sources []string // of the context, that it copies
}

// A Set is the build files of one directory that bake would read together, or
// a build.hcl with all that it includes.
type Set struct {
	Dir   string // "." is that of the new file
	Files []config.File
}

// A Result is the new file.
type Result struct {
	Text    string   // of build.hcl; "" if there is nothing to build
	Targets []string // that it declares or includes, in order
	Notes   []string // for people: what was left out or written otherwise than one might think, and why
}

// New writes a build file.
func New(in Input) Result {
	s := &scaffold{Input: in, taken: map[string]bool{"default": true}, covered: map[string]bool{}}
	s.addSets()
	s.findTargets()
	s.linkTargets()
	return s.result()
}

// scaffold is the state of writing one.
type scaffold struct {
	Input
	taken    map[string]bool // names of targets and groups
	covered  map[string]bool // Dockerfiles that a target of a set builds
	includes []string
	known    []known // targets of sets
	written  []rewritten
	targets  []*target
	notes    []string

	hasDefault            bool // an included file declares the group or target "default"
	tagDeclared, tagEmpty bool // an included file declares the variable TAG; its default is no tag
}

// known is a target of a set.
type known struct {
	name  string
	repos []string // of its tags, in their familiar form
}

// IsDockerfile reports whether a file's name is that of a Dockerfile.
func IsDockerfile(name string) bool {
	_, _, ok := stem(name)
	return ok
}

// Skipped reports whether a directory of that name is not looked into: other
// people's code, and what tools keep.
func Skipped(name string) bool {
	switch name {
	case "node_modules", "vendor", "testdata", "__pycache__":
		return true
	}
	return len(name) > 1 && name[0] == '.' && name != ".docker"
}
