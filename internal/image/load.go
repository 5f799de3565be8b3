package image

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Receiver takes images into the store of another program. It sends nothing
// that is there already, as far as that program tells.
type Receiver interface {
	// String says what it is, for people: "Docker Engine 28.1 (unix://…)".
	String() string
	// Platform is what an image of several platforms is narrowed to, if it
	// can hold one only; "" if it holds all.
	Platform() string
	// Load sends an image, which is narrowed already.
	Load(ctx context.Context, i *Image, t Tell) (Loaded, error)
	Close() error
}

// A Loaded is an image that another program has now.
type Loaded struct {
	ID    string // by which that program knows it: "sha256:" and 64 hex digits
	There bool   // it had all of it
	Note  string // "" or why more was sent than it lacked
}

// ErrNoReceiver is returned, wrapped, where a program that images are to be
// loaded into is not there.
var ErrNoReceiver = errors.New("it is not there")

// Load sends an image to a receiver, narrowed to the platforms that are
// wanted, or, where it holds one only, to that of its machine.
func Load(ctx context.Context, r Receiver, i *Image, platforms []string, t Tell) (Loaded, error) {
	narrow := func() (*Image, error) { return i.ForPlatforms(ctx, platforms) }
	if machine := r.Platform(); machine != "" {
		if len(platforms) > 1 {
			return Loaded{}, fmt.Errorf("%s holds one platform of an image, not %s", r, strings.Join(platforms, " and "))
		}
		narrow = func() (*Image, error) {
			if len(platforms) == 1 {
				return i.ForPlatform(ctx, platforms[0])
			}
			return i.ForMachine(ctx, machine)
		}
	}
	narrowed, err := narrow()
	if err != nil {
		return Loaded{}, err
	}
	l, err := r.Load(ctx, narrowed, t)
	if err != nil {
		return l, fmt.Errorf("load %s into %s: %w", i, r, err)
	}
	t.tell(Event{Kind: Ended, Ref: i.String()})
	return l, nil
}

// skipped tells of all that an image leads to that it is there.
func (i *Image) skipped(all []ocispec.Descriptor, t Tell) {
	for _, d := range all {
		t.tell(Event{Kind: Found, Ref: i.String(), Bytes: d.Size})
		t.tell(Event{Kind: Skipped, Ref: i.String(), Bytes: d.Size})
	}
}
