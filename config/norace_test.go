//go:build !race

package config

// Slowdown is how much longer the race detector may make things take.
const Slowdown = 1
