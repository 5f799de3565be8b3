package progress

import (
	"slices"
	"sync"

	"github.com/kilnbuild/kiln/exec"
)

// Places knows which builders a run's nodes are on, from its events. The zero
// value is ready; goroutines may share it.
type Places struct {
	mu sync.Mutex // guards at
	at map[string][]placement
}

// A placement is a builder with the platforms it builds of a node.
type placement struct {
	builder   string
	platforms []string // nil is all
}

// Event implements [exec.Sink].
func (p *Places) Event(e exec.Event) {
	if e.Kind != exec.Placed {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = map[string][]placement{}
	}
	// A node that is placed again has moved.
	at := slices.DeleteFunc(p.at[e.Node], func(old placement) bool {
		return e.Platforms == nil || old.platforms == nil ||
			slices.ContainsFunc(old.platforms, func(name string) bool { return slices.Contains(e.Platforms, name) })
	})
	p.at[e.Node] = append(at, placement{e.Builder, e.Platforms})
}

// Builders returns the builders of a node, each once; none where there is
// only one for all.
func (p *Places) Builders(node string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, at := range p.at[node] {
		if !slices.Contains(out, at.builder) {
			out = append(out, at.builder)
		}
	}
	slices.Sort(out) // parts begin at once
	return out
}
