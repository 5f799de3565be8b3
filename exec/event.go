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
	Vertex  *Vertex  `json:",omitempty"` // for VertexKind; for Log and Warning the step that spoke, if known
	Log     []byte   `json:",omitempty"` // for Log, the bytes; for Warning, the text
	Retry   *Retry   `json:",omitempty"` // for Retrying
	Builder string   `json:",omitempty"` // for Placed, the builder's name; with several platforms there may be several
	Outcome *Outcome `json:"-"`          // for Finished
}

// A Retry says what is tried again, and why.
type Retry struct {
	Number int           // of this retry, from 1
	Of     int           // the most there will be for the node's solve, or for its export
	After  time.Duration // how long from now it begins
	Export bool          // it is the export that is tried again
	Cause  string        // what went wrong, in one line: "registry.example.com answered 503 Service Unavailable"
}

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
}

// A Sink takes events. It returns soon and is called from several goroutines.
type Sink interface{ Event(Event) }
