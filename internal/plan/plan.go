// Package plan says what a build is going to do, before anything runs: as a
// value, as JSON, as text, and as the difference from another plan. A plan
// that was saved can be built from.
//
//	make.go    graph, foresight → Plan
//	warn.go    what is doubtful about it
//	amount.go  how much will be sent
//	text.go    Plan → text
//	diff.go    Plan, Plan → Changes
//	save.go    Plan ↔ file that builds
//
// It starts nothing, fetches nothing, and reads files only to count them.
// Values that look like secrets are in no Plan.
package plan

// Version is that of the JSON form. It changes when a reader would have to.
const Version = 1

// Kind tells a plan from other JSON of kiln's.
const Kind = "plan"

// A Plan is what a build will do. Lists are in the order of the build unless
// they say otherwise; no list is null. It encodes to the same bytes whenever
// it is made of the same files.
type Plan struct {
	Version  int        `json:"version"`
	Kind     string     `json:"kind"`
	Files    []string   `json:"files"`   // build files, as they were named
	Waves    [][]string `json:"waves"`   // names of targets: those of a wave need only what is in waves before
	Targets  []*Target  `json:"targets"` // each after all it needs
	Sends    *Sends     `json:"sends,omitempty"`
	Warnings []Warning  `json:"warnings"`
	Build    *Build     `json:"build,omitempty"` // of a saved plan: what builds it
}

// A Target is one target of a plan.
type Target struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Label       string `json:"label,omitempty"`   // of its block, if that is not the name: a matrix or variants
	Variant     string `json:"variant,omitempty"` // "" if it has none
	Declared    Place  `json:"declared"`
	Links
	Dockerfile Dockerfile `json:"dockerfile"`
	Contexts   []Context  `json:"contexts"` // the main one, then the named ones by name
	Bases      []Base     `json:"bases"`    // in the order of the Dockerfile
	Platforms  []string   `json:"platforms"`
	Outputs    []Output   `json:"outputs"`
	Tags       []string   `json:"tags"` // in full
	CacheFrom  []Cache    `json:"cacheFrom"`
	CacheTo    []Cache    `json:"cacheTo"`
	Args       []KeyValue `json:"args"`   // by key
	Labels     []KeyValue `json:"labels"` // by key
	Access     Access     `json:"access"`
	Steps      Steps      `json:"steps"`
	Sends      *Amount    `json:"sends,omitempty"` // what it reads of this machine; targets that read the same are sent it once
	// Unsure are reasons why it may read other files than Sends counts.
	Unsure []string `json:"unsure,omitempty"`
}

// Links are a target's place in the graph.
type Links struct {
	Wave      int      `json:"wave"`      // from 1
	Requested bool     `json:"requested"` // its outputs are wanted; else it is built for others only
	Needs     []string `json:"needs"`     // whose results it reads
	After     []string `json:"after"`     // that are built and exported before it
	Needers   []string `json:"needers"`   // that read its result
}

// A Place is where something was written.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// A Dockerfile is what a target is built by.
type Dockerfile struct {
	Path         string     `json:"path,omitempty"`         // relative to the working directory, or address:path
	Where        string     `json:"where"`                  // "local", "inline" or "remote"
	Digest       string     `json:"digest,omitempty"`       // of its text; "" if it is not on this machine
	Ignore       string     `json:"ignore,omitempty"`       // file with what is left out of the context
	IgnoreDigest string     `json:"ignoreDigest,omitempty"` // of its text
	Frontend     string     `json:"frontend,omitempty"`     // image that reads it; "" is BuildKit's own
	Stage        string     `json:"stage,omitempty"`        // name or number of the stage that is built; "" is not known
	Stages       []string   `json:"stages,omitempty"`       // all there are
	FromArgs     []KeyValue `json:"fromArgs,omitempty"`     // arguments that decide what it is built from
}

// A Context is a place that files come from.
type Context struct {
	Name string `json:"name"` // "" is the main context
	Type string `json:"type"` // "local", "git", "url", "image", "target", "oci-layout", "store"
	From string `json:"from"` // path, address, reference or name
}

// A Base is an image, or what is read in its place.
type Base struct {
	Ref       string   `json:"ref"`
	Pinned    bool     `json:"pinned"`              // by digest
	Platforms []string `json:"platforms,omitempty"` // that it is looked up for
	Line      int      `json:"line,omitempty"`      // of the Dockerfile
	Context   string   `json:"context,omitempty"`   // named context that is read instead
	Stored    string   `json:"stored,omitempty"`    // digest of the image of kiln's store that is read, having that name
}

// An Output is a way in which a result leaves the builder.
type Output struct {
	Type  string            `json:"type"` // of the exporter; "store" is kiln's image store, "none" only the builder's cache
	Dest  string            `json:"dest,omitempty"`
	Attrs map[string]string `json:"attrs,omitempty"`
}

// A Cache is a cache that is read or written.
type Cache struct {
	Type  string            `json:"type"`
	Attrs map[string]string `json:"attrs,omitempty"`
}

// A KeyValue is an argument or label. Hidden says that the value looks like a
// secret; Value is "(hidden)" then.
type KeyValue struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Hidden bool   `json:"hidden,omitempty"`

	real string // what Value stands for, to compare by
}

// Access is what the steps may use beside their files, by ID and never by value.
type Access struct {
	Secrets      []Secret `json:"secrets"`
	SSH          []SSH    `json:"ssh"`
	Entitlements []string `json:"entitlements"`
	Network      string   `json:"network,omitempty"`
}

// A Secret is a secret by its ID and where its value is.
type Secret struct {
	ID   string `json:"id"`
	From string `json:"from"` // "env NAME", "file PATH", or "" for whichever has its name
}

// An SSH is an agent or keys by ID.
type SSH struct {
	ID    string   `json:"id"`
	Paths []string `json:"paths,omitempty"` // of keys; none is the agent
}

// Steps is how a target is built.
type Steps struct {
	Call          string   `json:"call,omitempty"` // a question to the frontend in place of a build
	Pull          bool     `json:"pull,omitempty"`
	NoCache       bool     `json:"noCache,omitempty"`
	NoCacheStages []string `json:"noCacheStages,omitempty"`
	Weight        int      `json:"weight,omitempty"`  // slots of --jobs; 0 is 1
	Timeout       string   `json:"timeout,omitempty"` // "" is no limit
	Attest        []string `json:"attest,omitempty"`  // "type=sbom", as written
}

// Sends is what a run sends to a builder that has nothing of it yet.
type Sends struct {
	Amount
	Uploads []Upload `json:"uploads"`
}

// An Upload is the part of a directory that is sent once for the targets that
// read it.
type Upload struct {
	Dir     string   `json:"dir"` // relative to the working directory if it lies in it; "" is a Dockerfile in the build file
	Targets []string `json:"targets"`
	Amount
	List []File `json:"list,omitempty"` // its files, if they were asked for, by path
}

// A File is a file that is sent.
type File struct {
	Path  string `json:"path"` // in the directory
	Bytes int64  `json:"bytes"`
}

// An Amount is a number of files.
type Amount struct {
	Files    int64    `json:"files"`
	Bytes    int64    `json:"bytes"`
	AtLeast  bool     `json:"atLeast,omitempty"`  // there are more, which were not counted
	Heaviest []Weight `json:"heaviest,omitempty"` // directories with most of the bytes, heaviest first
}

// A Weight is a directory and what is sent of it.
type Weight struct {
	Dir   string `json:"dir"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

// A Warning is something doubtful about a plan.
type Warning struct {
	Code    string   `json:"code"`    // for programs, see docs/plan.md
	Text    string   `json:"text"`    // a sentence
	Targets []string `json:"targets"` // that it is about
	Place   *Place   `json:"place,omitempty"`
}
