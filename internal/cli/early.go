package cli

import (
	"context"
	"time"

	"github.com/kilnbuild/kiln/internal/engine"
)

// An early is a connection to kiln's own engine that is made while the
// definition is read. It is only looked for: an engine is started once all
// that can go wrong before has gone well. The zero value has none.
type early struct {
	found  chan *engine.Engine // gives one value, nil if there is no engine
	cancel context.CancelFunc
}

// lookForEngine begins to look, if the engine is what will build.
func (a *app) lookForEngine(ctx context.Context, choices []builderChoice) {
	if len(choices) != 1 || choices[0].addr != "" || choices[0].inProcess {
		return
	}
	o, err := a.engineOptions()
	if err != nil {
		return // told when it is needed
	}
	ctx, cancel := context.WithCancel(ctx)
	found := make(chan *engine.Engine, 1)
	a.early = early{found, cancel}
	go func() { found <- engine.Running(ctx, o) }()
}

// take returns the engine, nil if none was found or it is gone again.
func (e *early) take() *engine.Engine {
	if e.found == nil {
		return nil
	}
	found := <-e.found
	e.found = nil
	e.cancel() // what was found does not end with it
	if found == nil {
		return nil
	}
	select {
	case <-found.Lost():
		found.Close()
		return nil
	default:
		return found
	}
}

// dropTime is how long drop waits for an engine that does not answer.
const dropTime = 100 * time.Millisecond

// drop lets go of an engine that was not taken.
func (e *early) drop() {
	if e.found == nil {
		return
	}
	e.cancel()
	select {
	case found := <-e.found:
		if found != nil {
			found.Close()
		}
	case <-time.After(dropTime): // the process ends, and its connections with it
	}
	e.found = nil
}
