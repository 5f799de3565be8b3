// Package startup keeps the garbage collector out of the way while kiln
// starts. Initialising the packages that kiln is linked of (schemas, regular
// expressions, descriptors) takes 6 MB, just enough to make the collector run:
// three of the eighteen milliseconds that `kiln version` takes.
//
// It is the one package that does something by being imported: nothing else
// comes before the other packages' initialisation. It must import little, so
// that its own turn comes early.
package startup

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
)

// Memory is up to where a command goes on without the collector, in bytes:
// most are over before they have that much.
const Memory = 96 << 20

// percent is Go's own setting.
const percent = 100

// pending brings the collector back. It is a variable because begin has to
// run before main.
var pending = begin()

func begin() runtime.Cleanup {
	if !Allowed(os.Getenv) {
		return runtime.Cleanup{}
	}
	return Later()
}

// Allowed reports whether the collector is kiln's to set: the user has not
// set GOGC or GOMEMLIMIT.
func Allowed(getenv func(string) string) bool {
	return getenv("GOGC") == "" && getenv("GOMEMLIMIT") == ""
}

// Hold stops the collector from coming back by itself, for who sets it.
func Hold() { pending.Stop() }

// Later keeps the collector away until the process has [Memory]. Stop of what
// it returns keeps it from coming back.
func Later() runtime.Cleanup {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(Memory)
	return runtime.AddCleanup(new(sentinel), func(int) { Now() }, 0)
}

// Now gives the collector Go's own settings, for a process that stays.
func Now() {
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(math.MaxInt64)
}

// A sentinel is garbage from the start: when it is collected, a collection has
// been. It holds a pointer, so that it is not put beside what lives on.
type sentinel struct{ _ *byte }
