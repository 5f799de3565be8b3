//go:build !race

package cli

// raced says that the race detector makes things take long.
const raced = false
