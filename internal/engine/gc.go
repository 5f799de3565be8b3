package engine

import "time"

// How much of a disk the build cache may take. A laptop's disk is for other
// things: BuildKit's own defaults go to 80 % of it.
const (
	cacheShare   = 5 // the cache takes at most a fifth of the disk,
	cacheLeast   = 2 << 30
	cacheMost    = 50 << 30
	freeShare    = 10                  // and shrinks while less than a tenth of the disk is free,
	reserveShare = 10                  // but not below a tenth of what it may take
	sourcesMost  = 1 << 30             // uploaded contexts, cache mounts and git checkouts:
	sourcesKeep  = 2 * 24 * time.Hour  // above that, what was not used for two days goes first
	unusedKeep   = 14 * 24 * time.Hour // anything that was not used for two weeks
)

// A rule is one step of cleaning up; the engine goes through them in order.
type rule struct {
	filters  []string // of what; nil is everything
	internal bool     // also what BuildKit keeps for itself
	keep     time.Duration
	reserved int64 // bytes that are left in any case
	most     int64 // bytes above which it begins
	free     int64 // bytes that should be free on the disk
}

// cacheLimit is how much the cache may take on a disk of total bytes.
func cacheLimit(asked, total int64) int64 {
	if asked > 0 {
		return asked
	}
	return min(max(total/cacheShare, cacheLeast), cacheMost)
}

// gcRules are the rules for a cache of at most limit bytes on a disk of total
// bytes.
func gcRules(limit, total int64) []rule {
	reserved, free := limit/reserveShare, total/freeShare
	return []rule{
		{filters: []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"}, keep: sourcesKeep, most: min(sourcesMost, limit)},
		{keep: unusedKeep, reserved: reserved, most: limit, free: free},
		{reserved: reserved, most: limit, free: free},
		{internal: true, reserved: reserved, most: limit, free: free},
	}
}
