//go:build !linux

package keyboard

import "os"

// A Keyboard is a terminal that is not read from.
type Keyboard struct{}

// New returns a keyboard without keys.
func New(*os.File) *Keyboard { return &Keyboard{} }

// Keys returns a channel that nothing comes from.
func (*Keyboard) Keys() <-chan string { return nil }

// Close does nothing.
func (*Keyboard) Close() error { return nil }
