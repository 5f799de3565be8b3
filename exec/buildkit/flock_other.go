//go:build !unix

package buildkit

import "context"

// flock does nothing where files have no such locks.
func flock(context.Context, string) (func(), error) { return func() {}, nil }

// tryFlock never has a lock there, so that nothing is taken for abandoned.
func tryFlock(string) (release func(), held bool, err error) { return nil, false, nil }
