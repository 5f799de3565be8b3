package format

import (
	"github.com/aymanbagabas/go-udiff"
)

// Diff is the difference of two texts of a file in the unified format, as
// patch and git apply read it; "" if there is none.
func Diff(name string, before, after []byte) string {
	return udiff.Unified("a/"+name, "b/"+name, string(before), string(after))
}
