package pool

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/containerd/platforms"
)

// Placing. A unit goes to a member that builds its platforms natively, else to
// one that emulates them, else to any: a Dockerfile that runs nothing on its
// target's platform needs neither. Of equals, one that has another part of
// the same component; then the one that the unit's name leads to, so that the
// next run finds its cache there, unless that has more than its share.

// crowded is how much more than its even share a member takes before names
// lead elsewhere: five quarters of it.
const crowdedNum, crowdedDen = 5, 4

// place gives each of the units a member, heavy ones first. Those for which
// no member is left get none. The caller holds mu.
func (p *Pool) place(units []*unit) {
	alive := p.alive()
	for _, u := range units {
		u.at = nil
	}
	if len(alive) == 0 {
		return
	}
	order := slices.Clone(units)
	slices.SortStableFunc(order, func(a, b *unit) int {
		return cmp.Or(
			cmp.Compare(p.hardness(a, alive), p.hardness(b, alive)), // others of the component follow what can be native
			cmp.Compare(b.weight, a.weight),
		)
	})
	share := 0
	for _, u := range p.units {
		if u.held > 0 {
			share += u.weight
		}
	}
	for _, u := range order {
		u.at = &run{member: p.choose(u, alive, share*crowdedNum/(crowdedDen*len(alive)))}
	}
}

func (p *Pool) alive() []*member {
	return slices.DeleteFunc(slices.Clone(p.members), func(m *member) bool { return m.lost != nil })
}

// hardness is how badly the best member suits the unit.
func (p *Pool) hardness(u *unit, alive []*member) int {
	best := suits(alive[0], u)
	for _, m := range alive[1:] {
		best = min(best, suits(m, u))
	}
	return best
}

// choose returns the member for a unit, of those that are alive.
func (p *Pool) choose(u *unit, alive []*member, limit int) *member {
	best := p.hardness(u, alive)
	among := slices.DeleteFunc(slices.Clone(alive), func(m *member) bool { return suits(m, u) != best })
	hosts := slices.DeleteFunc(slices.Clone(among), func(m *member) bool { return !p.hosts(m, u.component) })
	if len(hosts) > 0 {
		among = hosts
	}
	slices.SortStableFunc(among, func(a, b *member) int { return cmp.Compare(lead(u, b), lead(u, a)) })
	least := among[0]
	for _, m := range among {
		load := p.load(m)
		if load == 0 || load+u.weight <= limit {
			return m
		}
		if load < p.load(least) {
			least = m
		}
	}
	return least
}

// hosts reports whether a part of the component is on m.
func (p *Pool) hosts(m *member, component int) bool {
	return slices.ContainsFunc(p.units, func(u *unit) bool {
		return u.component == component && u.at != nil && u.at.member == m
	})
}

// load is the weight of what m has still to build.
func (p *Pool) load(m *member) int {
	sum := 0
	for _, u := range p.units {
		if u.at != nil && u.at.member == m && u.held > 0 {
			sum += u.weight
		}
	}
	return sum
}

// lead is how strongly the name of u leads to m: rendezvous hashing, so that
// a member more or less moves few units.
func lead(u *unit, m *member) uint64 {
	sum := sha256.Sum256([]byte(u.key + "\x00" + m.Name))
	return binary.BigEndian.Uint64(sum[:])
}

// What a platform that is not native counts.
const (
	emulated  = 1
	unclaimed = 1 << 16 // more than all platforms of a unit, emulated
)

// suits is 0 where m builds all platforms of u natively, and more the less
// it suits.
func suits(m *member, u *unit) int {
	sum := 0
	for _, p := range u.platforms {
		switch {
		case !slices.Contains(m.Platforms, p):
			sum += unclaimed
		case !m.native(p):
			sum += emulated
		}
	}
	return sum
}

// native reports whether m runs the programs of a platform by itself, or is
// to be taken so.
func (m *member) native(p string) bool {
	if m.Kept != nil {
		return slices.Contains(m.Kept, p)
	}
	if m.Platforms[0] == p {
		return true
	}
	a, err1 := platforms.Parse(m.Platforms[0])
	b, err2 := platforms.Parse(p)
	return err1 == nil && err2 == nil && platforms.Only(a).Match(b)
}
