package buildkit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
)

// A CacheRecord is one entry of a daemon's build cache: the result of a step, a
// context that was uploaded, a cache mount.
type CacheRecord struct {
	ID string `json:"id"`
	// Type is BuildKit's: "regular" for the result of a step, "source.local"
	// for an upload, "source.git.checkout", "exec.cachemount", "frontend" or
	// "internal".
	Type        string    `json:"type"`
	Description string    `json:"description"` // the step that made it, for people
	Size        int64     `json:"size"`        // bytes on the daemon's disk, without those of its parents
	InUse       bool      `json:"inUse"`       // a build holds it: it can't be removed now
	Mutable     bool      `json:"mutable"`
	Shared      bool      `json:"shared"` // its bytes belong to something else, too, such as an image of the daemon
	Created     time.Time `json:"created"`
	LastUsed    time.Time `json:"lastUsed,omitzero"` // zero: never since it was made
	Uses        int       `json:"uses"`
	Parents     []string  `json:"parents"` // IDs; empty, not nil, for none
}

// CacheFilter picks records of a cache.
type CacheFilter struct {
	// Terms must all hold. Each is one of BuildKit's: KEY==VALUE, KEY!=VALUE
	// or KEY~=PATTERN for id, type, parents and description; or one of inuse,
	// shared, private, mutable and immutable. None picks all.
	Terms []string
	// Unused is for how long a record was not used; 0 is any time.
	Unused time.Duration
}

// filter is f as BuildKit reads it: what is in one string holds together.
func (f CacheFilter) filter() client.Filter {
	if len(f.Terms) == 0 {
		return nil
	}
	return client.WithFilter([]string{strings.Join(f.Terms, ",")})
}

// PruneOptions say what Prune removes. The zero value is all that no build
// holds, but for what belongs to frontends and to BuildKit itself.
type PruneOptions struct {
	CacheFilter
	All bool // what belongs to frontends and to BuildKit itself, too
	// In bytes; 0 is no limit. Records go, the longest unused first, until the
	// cache takes no more than MaxUsed and MinFree of the disk is free; of the
	// cache Reserved stays in any case. With all three 0 every record goes.
	Reserved, MaxUsed, MinFree int64
}

// CacheRecords lists what is in the daemon's build cache, the largest first,
// those of one size by ID.
func (c *Conn) CacheRecords(ctx context.Context, f CacheFilter) ([]CacheRecord, error) {
	infos, err := c.client.DiskUsage(ctx, f.filter(), client.WithAgeLimit(f.Unused))
	if err != nil {
		return nil, fmt.Errorf("ask %s for its cache: %w", c.name, err)
	}
	out := make([]CacheRecord, 0, len(infos))
	for _, info := range infos {
		out = append(out, cacheRecord(*info))
	}
	slices.SortFunc(out, func(a, b CacheRecord) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Prune removes records of the daemon's build cache, and calls removed for
// each when it has gone, one after another. What went before an error stays
// gone, and has been told.
func (c *Conn) Prune(ctx context.Context, o PruneOptions, removed func(CacheRecord)) error {
	opts := []client.PruneOption{client.WithKeepOpt(o.Unused, o.Reserved, o.MaxUsed, o.MinFree), o.filter()}
	if o.All {
		opts = append(opts, client.PruneAll)
	}
	gone, told := make(chan client.UsageInfo), make(chan struct{})
	go func() {
		defer close(told)
		for info := range gone {
			removed(cacheRecord(info))
		}
	}()
	err := c.client.Prune(ctx, gone, opts...)
	close(gone)
	<-told
	if err != nil {
		return fmt.Errorf("prune the cache of %s: %w", c.name, err)
	}
	return nil
}

func cacheRecord(info client.UsageInfo) CacheRecord {
	r := CacheRecord{
		ID: info.ID, Type: string(info.RecordType), Description: info.Description, Size: info.Size,
		InUse: info.InUse, Mutable: info.Mutable, Shared: info.Shared,
		Created: info.CreatedAt, Uses: info.UsageCount, Parents: append([]string{}, info.Parents...),
	}
	if info.LastUsedAt != nil {
		r.LastUsed = *info.LastUsedAt
	}
	return r
}
