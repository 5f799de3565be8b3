package exec

// A Recipe is what a step is made of: all that its place in the cache hangs
// on, as far as kiln has a part in it. Plain data, JSON-stable; no value of it
// is a secret.
type Recipe struct {
	Digest   string        `json:"digest"`             // of the step's definition, as in Vertex; one that reads a directory has another in every run
	Kind     RecipeKind    `json:"kind"`               //
	Command  string        `json:"command,omitempty"`  // for RecipeRun, what is run; for RecipeFile, what is copied, made or removed, an action a line
	Source   string        `json:"source,omitempty"`   // for RecipeImage, RecipeGit, RecipeHTTP: the address, with the digest if that is known; for RecipeLocal, the directory
	Env      []string      `json:"env,omitempty"`      // for RecipeRun, "NAME=value", in BuildKit's order
	Settings []string      `json:"settings,omitempty"` // whatever else changes the result, "name=value", sorted
	Inputs   []RecipeInput `json:"inputs,omitempty"`
	Targets  []string      `json:"targets,omitempty"` // that asked for the step, in the order in which they did
	File     string        `json:"file,omitempty"`    // Dockerfile it is written in, as the first of the targets names it
	Line     int           `json:"line,omitempty"`    // of File, from 1
	Exclude  []string      `json:"exclude,omitempty"` // for RecipeLocal, the patterns of what is left out
	NoCache  bool          `json:"noCache,omitempty"` // the step was to be done whatever the cache holds
	Check    string        `json:"check,omitempty"`   // of all of it, also of what is hidden, but the inputs and what differs from run to run
}

// A RecipeKind says what sort of work a step is.
type RecipeKind string

// The kinds of steps.
const (
	RecipeImage RecipeKind = "image" // an image to build on
	RecipeLocal RecipeKind = "local" // a directory of this machine
	RecipeGit   RecipeKind = "git"
	RecipeHTTP  RecipeKind = "http"
	RecipeRun   RecipeKind = "run"   // a command
	RecipeFile  RecipeKind = "file"  // COPY, ADD, WORKDIR
	RecipeMerge RecipeKind = "merge" // layers over each other, or their difference
	RecipeOther RecipeKind = "other"
)

// A RecipeInput is a step whose result another reads.
type RecipeInput struct {
	Step  string   `json:"step"`            // its digest
	Paths []string `json:"paths,omitempty"` // what of it is read, as patterns; none is everything
}

// A Listing is what a build was sent of a directory of this machine.
type Listing struct {
	Dir   string       // as Recipe.Source has it
	Files []ListedFile // in the order of a walk
	More  int          // files beyond those that are kept
}

// A ListedFile is a file, directory or link of a Listing.
type ListedFile struct {
	Path  string // with slashes, relative to the directory
	Mode  uint32 // as of io/fs
	Size  int64
	Time  int64  // of its last change, in nanoseconds since 1970
	Link  string // what a symbolic link leads to
	Check uint32 // of its content, where that was sent in the run; else 0
}
