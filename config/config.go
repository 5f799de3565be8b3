// Package config turns build files into a Config: a plain, read-only account
// of what is to be built.
//
// The work is five steps, each a file of its own, and no step looks back:
//
//	parse.go   bytes     → blocks     syntax and schema; nothing is evaluated
//	matrix.go  blocks    → instances  a target with a matrix or variants → its instances
//	merge.go   instances → layers     inherits, later files, variants, --set; unevaluated expressions
//	eval.go    layers    → values     each attribute evaluated once, on demand; cycles found
//	decode.go  values    → Config     Go types, each with the range it came from
//
// Merging comes before evaluation, so that a reference such as
// target.app.tags sees what the app target will really be built with.
//
// Problems are reported as hcl.Diagnostics: all that can be found, ordered by
// position. The package reads no environment, no clock that an expression did
// not ask for, and makes no connection; what a file may see of the world
// outside is passed in Inputs.
package config

import (
	"time"

	"github.com/hashicorp/hcl/v2"
)

// A File is one build file as it was read.
type File struct {
	Name string // as diagnostics show it: a path, "-" for standard input, or a URL
	Data []byte
	// Base is the directory that relative paths written in the file are
	// relative to, itself relative to the working directory; "" is the
	// working directory.
	Base string
	// Remote says that the file came with a remote definition; it may not
	// name files of this machine.
	Remote bool
	// ContextsOnly limits Base to contexts: other paths are relative to the
	// working directory (BUILDX_BAKE_FILE_RELATIVE_PATHS).
	ContextsOnly bool
	// Included says that an include block named the file; what it declares
	// must be new.
	Included bool
}

// Inputs is everything outside the files that decides what a Config holds.
// The zero value sets no variable and overrides nothing.
type Inputs struct {
	Vars      map[string]string // --var, by name
	Env       map[string]string // the environment that variables may be set from; nil when lookup is switched off
	Overrides []Override        // --set and its short forms, in order
	// Remote is the address of the git repository that the files came from;
	// "" if they are local. Relative contexts are directories in it.
	Remote string
	// Epoch is the value of SOURCE_DATE_EPOCH: a build argument of every
	// target that does not set it. "" is none.
	Epoch string
	// CmdContext is the value of BAKE_CMD_CONTEXT; "" is "cwd://".
	CmdContext string
	// Platform is the value of BAKE_LOCAL_PLATFORM, as "linux/amd64".
	Platform string
	// Facts answers git.commit and its kin by name ("commit", "branch", …),
	// asked once each and only when an expression uses one. Nil: no work tree.
	Facts func(name string) (string, error)
	// Home is the home directory of the user, for homedir(); "" if there is none.
	Home string
	// Now is the clock of timestamp(); nil is time.Now.
	Now func() time.Time
	// Compose is what Compose files may use beside Vars and Env.
	Compose ComposeInputs
}

// An Override sets one attribute of the targets that a pattern names.
type Override struct {
	Pattern string // target name or glob
	Key     string // attribute or alias, as written
	Sub     string // what follows the second dot ("X" of args.X); "" if nothing does
	HasSub  bool   // tells "args" from "args."
	Value   string // text after "="
	NoValue bool   // there was no "=": take it from the environment
	Append  bool   // "+="
	Flag    string // as the user wrote it, for diagnostics: "--set app.tags=x", "--push"
}

// A Config is the evaluated content of a set of build files. It does not
// change once Load has returned it, and goroutines may share it.
type Config struct {
	Targets   []*Target   // instances, in the order of declaration
	Groups    []*Group    // in the order of declaration; those of matrices and variants among them
	Shadowed  []*Group    // of matrices, whose names declared groups have; bake lists them, but they cannot be asked for
	Variables []*Variable // nil if all files are Compose files, which declare none
	Functions []*Function
	Files     map[string]*hcl.File // by name, for snippets

	targets map[string]*Target // Targets by name; nil in a Config that Load did not make
	groups  map[string]*Group  // Groups likewise
}

// Target returns the target of that name; nil if there is none.
func (c *Config) Target(name string) *Target {
	if c.targets != nil {
		return c.targets[name]
	}
	for _, t := range c.Targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Group returns the group of that name; nil if there is none.
func (c *Config) Group(name string) *Group {
	if c.groups != nil {
		return c.groups[name]
	}
	for _, g := range c.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// A Group is a name for several targets.
type Group struct {
	Name        string
	Description string
	Members     []string // target and group names as written, without repeats; may be unknown until selected
	// Generated says that no block declared it: it holds the instances of a
	// target with a matrix or variants.
	Generated bool
	DeclRange hcl.Range
	// MemberRange[i] is where Members[i] was written.
	MemberRange []hcl.Range
}

// A Variable is a value that the files ask for.
type Variable struct {
	Name        string
	Description string
	Type        string // in words, "list of string"; "" if none is declared
	Value       string // as `kiln list` shows it
	Null        bool   // the value is null
	Origin      string // "default", "environment NAME", "--var"
	DeclRange   hcl.Range
}

// A Function is a function that a build file declares.
type Function struct {
	Name      string
	Params    []string
	Variadic  string // name of the parameter that takes the rest; "" if none
	DeclRange hcl.Range
}

// A Target is one image or set of files to build: an instance, as resolved.
// Values are plain; a default is filled in, and IsSet tells whether anything
// set the attribute. Paths are relative to the working directory.
type Target struct {
	Name        string
	Label       string // of the block: differs from Name for an instance of a matrix or variant
	Variant     string // "" if the target has none
	Description string
	Listed      string // the description without what is inherited, as lists show it

	Context          Source        // the main build context; Local{"."} unless set
	Contexts         []NamedSource // further contexts, by name in ascending order
	Dockerfile       string        // path within Context, or "cwd://path"; "Dockerfile" unless set
	DockerfileInline string        // text of the Dockerfile; "" unless set, wins over Dockerfile
	Stage            string        // attribute "target"; "" is the last stage
	Args             []KeyValue    // by key in ascending order, as all KeyValue lists
	Labels           []KeyValue
	Annotations      []string // "[type[platform]:]key=value"
	Attest           []Attestation
	Tags             []string // as written, in order, without repeats
	Platforms        []string // as written; an element may be a comma list
	CacheFrom        []Cache
	CacheTo          []Cache
	Outputs          []Export
	Secrets          []Secret
	SSH              []SSH
	Pull             bool
	NoCache          bool
	NoCacheFilter    []string
	Network          string
	ShmSize          string // as written
	Ulimits          []string
	Resources        *Resources // nil unless set
	Call             string     // "" unless set
	Entitlements     []string
	ExtraHosts       []KeyValue
	Policy           []Policy
	DependsOn        []Ref         // targets and groups to be built and exported before this one
	Weight           int           // slots of --jobs that the target takes; 0 unless set, which is 1
	Timeout          time.Duration // for building and exporting; 0 is no limit

	DeclRange hcl.Range            // the header of the block
	AttrRange map[string]hcl.Range // by attribute name: where the value that won was written; absent if nothing set it

	// Deferred holds errors that matter only if the target is asked for
	// (bake: a parent that does not exist). graph.Select reports them.
	Deferred hcl.Diagnostics
}

// IsSet reports whether anything set the attribute of that name.
func (t *Target) IsSet(attr string) bool {
	_, ok := t.AttrRange[attr]
	return ok
}

// A KeyValue is one entry of a map attribute.
type KeyValue struct{ Key, Value string }

// A Ref is a name of a target or group, with the place that mentions it.
type Ref struct {
	Name  string
	Range hcl.Range
}

// A NamedSource is a Source that a Dockerfile can refer to by name.
type NamedSource struct {
	Name  string
	From  Source
	Text  string // in the notation of build files; "" is that of From
	Range hcl.Range
}

// text is what --print shows.
func (s NamedSource) text() string {
	if s.Text != "" {
		return s.Text
	}
	return s.From.String()
}

// An Export is one output: how a result leaves BuildKit.
type Export struct {
	Type  string     // image, registry, docker, oci, local, tar, cacheonly; others are left to the daemon
	Dest  string     // file or directory; "-" is standard output; "" if none
	Attrs []KeyValue // the rest, by key
}

// A Cache is a cache source or destination.
type Cache struct {
	Type  string     // registry, local, inline, gha, s3, azblob
	Attrs []KeyValue // the rest, by key
}

// A Secret is what a RUN step may mount by ID.
type Secret struct {
	ID  string
	Src string // path of a file
	Env string // name of an environment variable
	// With neither: the environment variable named ID if it exists, else the file.
}

// An SSH is an agent or keys that a RUN step may use by ID.
type SSH struct {
	ID    string
	Paths []string // keys or one socket; none is the agent of SSH_AUTH_SOCK
}

// An Attestation asks for a statement about the result.
type Attestation struct {
	Type     string // sbom, provenance
	Disabled bool
	Attrs    []KeyValue
}

// Resources limit what RUN steps may use. Each is nil unless set; "" is no
// limit.
type Resources struct {
	Memory, MemorySwap             *string // bytes, or with a unit
	CPUShares, CPUPeriod, CPUQuota *int64
	CPUSetCPUs, CPUSetMems         *string
}

// A Policy is a source policy for a target's build.
type Policy struct {
	Filename string   // "" if none
	More     []string // further files of the same entry
	Reset    bool
	Disabled bool
	Strict   *bool
	LogLevel string
}
