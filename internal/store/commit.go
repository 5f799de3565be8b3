package store

import (
	"context"
	"slices"
	"sync"
)

// Committing. Writers that come while the index is being written wait, and
// the first of them then writes for all: two hundred targets that end
// together cost a few replacements of index.json, not two hundred.

// A change is one Put on its way to the index.
type change struct {
	names []string
	desc  descriptor
	done  bool // guarded by Store.commit, as what follows
	fresh bool // it changed the index
	err   error
}

// A queue holds the changes that nobody has taken yet.
type queue struct {
	mu      sync.Mutex // guards changes
	changes []*change
}

func (q *queue) add(c *change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changes = append(q.changes, c)
}

func (q *queue) drop(c *change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changes = slices.DeleteFunc(q.changes, func(o *change) bool { return o == c })
}

func (q *queue) take() []*change {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.changes
	q.changes = nil
	return all
}

// apply writes the changes to the index and tells each how it went. The
// caller holds both locks.
func (s *Store) apply(ctx context.Context, changes []*change) {
	for _, c := range changes {
		c.done = true
		c.err = s.verify(ctx, c)
	}
	changes = slices.DeleteFunc(changes, func(c *change) bool { return c.err != nil })
	if err := s.write(changes); err != nil {
		for _, c := range changes {
			c.err = s.explain("write", err)
		}
	}
}

// write replaces the index, unless it says all of it already.
func (s *Store) write(changes []*change) error {
	idx, err := s.index.read()
	if err != nil {
		return err
	}
	changed := false
	idx.Manifests = slices.Clone(idx.Manifests)
	for _, c := range changes {
		for _, e := range c.entries(s.now()) {
			c.fresh = setEntry(&idx, e) || c.fresh
		}
		changed = changed || c.fresh
	}
	if !changed {
		return nil
	}
	return s.index.write(idx)
}
