package cli

import (
	"math"
	"runtime"
	"runtime/debug"

	"github.com/kilnbuild/kiln/config"
)

// While a definition is read, most of what is made is kept, so that looking
// for garbage is time lost: 10 of 70 ms with 1,000 targets. So the collector
// waits until there is planningMemory. Large definitions, which may need more
// than that, get a collector that only runs less often.
const (
	planningMemory = 512 << 20
	largeSource    = 2 << 20
	largeGC        = 400
	// buildingMemory is up to where a build goes on without the collector:
	// many are over before they have that much.
	buildingMemory = 96 << 20
	// sourceMemory is what planning takes for each byte of a definition.
	sourceMemory = 128
	// smallSource is up to where large pages would bring less than they cost.
	smallSource = 64 << 10
)

// relaxGC lets planning run without garbage collection, unless the user has
// set GOGC or GOMEMLIMIT, and returns what ends that. It may be called more
// than once.
func (a *app) relaxGC() (restore func()) {
	if a.env["GOGC"] != "" || a.env["GOMEMLIMIT"] != "" {
		return func() {}
	}
	percent := debug.SetGCPercent(-1)
	limit := debug.SetMemoryLimit(planningMemory)
	a.relaxed = true
	return func() {
		if !a.relaxed {
			return
		}
		a.relaxed = false
		// The first collection, once there is so much, is what brings the
		// user's settings back.
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(buildingMemory)
		runtime.AddCleanup(new(sentinel), func(int) {
			debug.SetGCPercent(percent)
			debug.SetMemoryLimit(limit)
		}, percent)
	}
}

// A sentinel is garbage from the start: when it is collected, a collection has
// been. It holds a pointer, so that it is not put beside what lives on.
type sentinel struct{ _ *byte }

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
