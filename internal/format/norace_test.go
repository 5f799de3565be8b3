//go:build !race

package format

// raced says that the race detector makes things take long.
const raced = false
