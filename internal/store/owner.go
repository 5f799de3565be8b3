package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// An owner is one Store of one process: the name before its ingests, which
// says when it began and is its own.
type owner string

// The parts of an owner's place: milliseconds since 1970 above ownerBits
// random ones, and above both timedPlaces. Below that are places that are
// made of names without a time, as an earlier kiln gave them.
const (
	ownerBits   = 20
	timedPlaces = int64(1) << 62
)

// clockSlack is by how much a file's time may be behind the clock, as the
// system keeps it in ticks.
const clockSlack = time.Second

// newOwner returns an owner that begins now.
func newOwner(now time.Time) owner {
	began := now.Add(-clockSlack).UnixMilli()
	return owner(fmt.Sprintf("%012x%05x", began, rand.N(1<<ownerBits)))
}

// ownerOf returns the owner of an ingest; false if it has none.
func ownerOf(ref string) (owner, bool) {
	name, _, ok := strings.Cut(ref, "/")
	return owner(name), ok
}

// place returns where in the file of owners the owner's byte is.
func (o owner) place() int64 {
	const digits = 17
	if len(o) == digits {
		began, errBegan := strconv.ParseInt(string(o[:12]), 16, 64)
		number, errNumber := strconv.ParseInt(string(o[12:]), 16, 64)
		if errBegan == nil && errNumber == nil && began < 1<<(62-ownerBits) {
			return timedPlaces + began<<ownerBits + number
		}
	}
	sum := sha256.Sum256([]byte(o + "/"))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 2)
}

// beganAt returns when the owner of a place began; the zero time, which is
// before all, where the place does not tell.
func beganAt(place int64) time.Time {
	if place < timedPlaces {
		return time.Time{}
	}
	return time.UnixMilli((place - timedPlaces) >> ownerBits)
}
