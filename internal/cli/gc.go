package cli

import (
	"math"
	"runtime"
	"runtime/debug"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/startup"
)

// While a definition is read, most of what is made is kept, so that looking
// for garbage is time lost: 10 of 70 ms with 1,000 targets. So the collector
// waits until there is planningMemory. Large definitions, which may need more
// than that, get a collector that only runs less often.
const (
	planningMemory = 512 << 20
	largeSource    = 2 << 20
	largeGC        = 400
	// sourceMemory is what planning takes for each byte of a definition.
	sourceMemory = 128
	// smallSource is up to where large pages would bring less than they cost.
	smallSource = 64 << 10
)

// relaxGC lets planning run without garbage collection, unless the user has
// set GOGC or GOMEMLIMIT, and returns what ends that. It may be called more
// than once.
func (a *app) relaxGC() (restore func()) {
	if !startup.Allowed(a.getenv) {
		return func() {}
	}
	startup.Hold()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(planningMemory)
	a.relaxed = true
	return func() {
		if a.relaxed {
			a.relaxed = false
			startup.Later()
		}
	}
}

// sizeGC brings the collector back for a large definition, and has the memory
// for one of medium size in large pages: filled page by page, it would cost a
// fifth of the time.
func (a *app) sizeGC(files []config.File) {
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	switch {
	case !a.relaxed:
	case size > largeSource:
		debug.SetGCPercent(largeGC)
		debug.SetMemoryLimit(math.MaxInt64)
	case size > smallSource:
		// What is freed at once, untouched, stays with the heap, and is the
		// first to be used.
		largePages(make([]byte, size*sourceMemory))
		runtime.GC()
	}
}
