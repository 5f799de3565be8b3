package exec

import "time"

// An EventKind tells the events of a run apart.
type EventKind string

const (
	Queued     EventKind = "queued"   // every node once, before anything starts
	Started    EventKind = "started"  // the solver has begun
	VertexKind EventKind = "vertex"   // a step began, moved or ended
	Log        EventKind = "log"      // a step printed something
	Warning    EventKind = "warning"  // the frontend or daemon warns
	Silent     EventKind = "silent"   // nothing was heard of the node or a step of it for long; Silence is set
	Retrying   EventKind = "retry"    // the network failed the node, and it is tried again; Retry is set
	Placed     EventKind = "placed"   // one of several builders was chosen for the node, or for the rest of it; Builder is set
	Solved     EventKind = "solved"   // the result is there, the export may follow
	Finished   EventKind = "finished" // the node's end; Status is set
)

// An Event is something that happened to a node. Plain data, JSON-stable.
type Event struct {
	Time    time.Time
	Node    string // name of the target; "" if it concerns the run
	Kind    EventKind
	Vertex  *Vertex  `json:",omitempty"` // for VertexKind; for Log, Warning and Silent the step that it is about, if known
	Log     []byte   `json:",omitempty"` // for Log, the bytes; for Warning, the text
	Caution *Caution `json:",omitempty"` // for Warning, what is known beside the text; may be nil
	Silence *Silence `json:",omitempty"` // for Silent
	Retry   *Retry   `json:",omitempty"` // for Retrying
	Builder string   `json:",omitempty"` // for Placed, the builder's name
	// Platforms are, for Placed, those of the node that the builder is for;
	// nil where that is all of it.
	Platforms []string `json:",omitempty"`
	Outcome   *Outcome `json:"-"` // for Finished
}

// A Retry says what is tried again, and why.
type Retry struct {
	Number int           // of this retry, from 1
	Of     int           // the most there will be for the node's solve, or for its export
	After  time.Duration // how long from now it begins
	Export bool          // it is the export that is tried again
	Cause  string        // what went wrong, in one line: "registry.example.com answered 503 Service Unavailable"
}

// A Caution is a warning of a frontend or of the daemon beside its one line.
type Caution struct {
	Level   int           // as the frontend has it; the checks of Dockerfiles are of level 1
	Detail  []string      // what it means, a sentence each
	URL     string        // where more is said; "" if nowhere
	File    string        // that it points into, as the target names it; "" if it points nowhere
	Source  []byte        // the whole file
	Ranges  []SourceRange // lines of the file, in the frontend's order
	Finding string        // the line without the file in front of it, as bake has it
}

// A SourceRange is some lines of a file, from 1, both included.
type SourceRange struct{ StartLine, EndLine int }

// A Vertex is one step of BuildKit's graph, as its progress tells it.
type Vertex struct {
	Digest    string    // of the step's definition, "sha256:" and 64 hex digits
	Name      string    // "[stage 2/5] RUN make"
	Started   time.Time // by the daemon's clock; zero until it starts
	Completed time.Time // zero until it ends
	Cached    bool      // the result was there already
	Error     string    // "" unless it failed
	Current   int64     // progress of a transfer: bytes so far
	Total     int64     // 0 where the daemon doesn't say
	Internal  bool      // bookkeeping that a person need not see
	Part      string    // what of the step Current and Total are of: a layer, "pushing layers"; "" is the step itself
	PartDone  bool      // that part is finished
	File      string    // Dockerfile that the step is written in, as the target names it; "" if unknown
	Line      int       // of File, from 1; 0 if unknown
}

// A Sink takes events. It returns soon and is called from several goroutines.
type Sink interface{ Event(Event) }
