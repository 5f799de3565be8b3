package progress

import (
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/kilnbuild/kiln/exec"
)

// A way is where the bytes of a step go, in the word that people are told.
type way string

const (
	sent    way = "sent"    // from here to the builder
	pulled  way = "pulled"  // from a registry or another place to the builder
	written way = "written" // from the builder to here
)

// ways are all ways, in the order in which they are told.
var ways = []way{sent, pulled, written}

// wayOf tells where the bytes of a step go: BuildKit names neither, but its
// words for what it does are few.
func wayOf(v exec.Vertex) way {
	switch {
	case strings.HasPrefix(v.Part, "transferring "):
		return sent
	case strings.HasPrefix(v.Name, "exporting "):
		return written
	}
	return pulled
}

// A transfer is what a step moves, of all its parts together. The zero value
// is ready.
type transfer struct {
	way     way
	parts   map[string]amount
	current int64  // bytes so far
	total   int64  // bytes in the end, as far as is known; 0 if it isn't
	doing   string // the part that was heard of last, until it is done: "pushing layers"
	old     mark   // a second or more before recent
	recent  mark
	moved   time.Time // the last byte
}

// An amount is how far one part is, in bytes.
type amount struct{ current, total int64 }

// A mark is what had been moved at a moment.
type mark struct {
	at    time.Time
	bytes int64
}

// take notes what a report says, and returns how many bytes more have been
// moved since the last.
func (x *transfer) take(v exec.Vertex, now time.Time) int64 {
	if v.Part == "" && v.Current == 0 {
		return 0
	}
	x.doing = v.Part
	if v.PartDone {
		x.doing = ""
	}
	p := amount{v.Current, v.Total}
	old := x.parts[v.Part]
	if p == old {
		return 0
	}
	if x.parts == nil {
		x.parts, x.way = map[string]amount{}, wayOf(v)
		x.old, x.recent = mark{at: now}, mark{at: now}
	}
	if v.PartDone && p.current < old.current {
		p = old // an end that says no bytes
	}
	x.parts[v.Part] = p
	x.current += p.current - old.current
	x.total += p.total - old.total
	x.moved = now
	if now.Sub(x.recent.at) >= time.Second {
		x.old, x.recent = x.recent, mark{now, x.current}
	}
	return p.current - old.current
}

// standsStill is how long nothing was moved when there is no rate any more.
const standsStill = 5 * time.Second

// rate is how many bytes were moved in a second, of the last two or three; 0
// until that can be told.
func (x *transfer) rate(now time.Time) float64 {
	if now.Sub(x.moved) > standsStill {
		return 0
	}
	if d := now.Sub(x.old.at).Seconds(); d >= 1 {
		return float64(x.current-x.old.bytes) / d
	}
	return 0
}

// text tells how far the transfer is, at length or in short; "" if nothing
// was moved.
func (x *transfer) text(now time.Time, short bool) string {
	if x.current <= 0 {
		return ""
	}
	text := size(x.current)
	if x.total > x.current {
		text += "/" + size(x.total)
	}
	if short {
		return text
	}
	text = string(x.way) + " " + text
	if r := x.rate(now); r >= 1 {
		text += " " + size(int64(r)) + "/s"
	}
	return text
}

func size(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// part is what the step does just now beside its name: "pushing layers".
func (x *transfer) part() string {
	text, _, _ := strings.Cut(x.doing, " sha256:")
	if strings.HasPrefix(text, "sha256:") || strings.HasPrefix(text, "transferring ") || strings.HasPrefix(text, "resolve ") {
		return ""
	}
	return text
}
