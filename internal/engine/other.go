//go:build !linux

package engine

import (
	"context"
	"fmt"
)

func unsupported() error {
	return fmt.Errorf("%w only: name a builder with --builder, KILN_BUILDER or BUILDKIT_HOST", ErrUnsupported)
}

// Connect is there on Linux only.
func Connect(context.Context, Options) (*Engine, error) { return nil, unsupported() }

// Running is there on Linux only.
func Running(context.Context, Options) *Engine { return nil }

// InProcess is there on Linux only.
func InProcess(context.Context, Options) (*Engine, error) { return nil, unsupported() }

// Serve is there on Linux only.
func Serve(context.Context, Options) error { return unsupported() }

// Query is there on Linux only.
func Query(context.Context, Options) (Status, error) { return Status{}, unsupported() }

// Stop is there on Linux only.
func Stop(context.Context, Options, bool) error { return unsupported() }

func buildID() string { return "" }
