package buildkit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	fstypes "github.com/tonistiigi/fsutil/types"
)

// A treeSum is a checksum of files as they are told to a daemon, and of what
// shows that they have changed since.
type treeSum struct {
	root   string
	h      hash.Hash
	latest int64 // change of a file, in nanoseconds since 1970
	fine   bool  // changes are told apart by less than a second
	failed bool
	linked bool // a file has several names
	buf    []byte
}

func newTreeSum(root string) *treeSum { return &treeSum{root: root, h: sha256.New()} }

// add adds a file, as it is described to the daemon.
func (t *treeSum) add(st *fstypes.Stat) {
	fi, err := os.Lstat(filepath.Join(t.root, filepath.FromSlash(st.Path)))
	if err != nil {
		t.failed = true // it has just gone
		return
	}
	t.addInfo(st.Path, fi)
}

// addInfo adds a file of which all is known.
func (t *treeSum) addInfo(path string, fi fs.FileInfo) {
	if fi == nil {
		t.failed = true
		return
	}
	device, inode, changed, links, ok := inodeOf(fi)
	if !ok {
		t.failed = true
		return
	}
	t.linked = t.linked || links > 1 && !fi.IsDir()
	t.latest = max(t.latest, changed)
	t.fine = t.fine || changed%int64(time.Second) != 0
	b := t.buf[:0]
	for _, n := range [...]uint64{uint64(len(path)), device, inode, uint64(changed), uint64(fi.ModTime().UnixNano()), uint64(fi.Size()), uint64(fi.Mode())} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	t.buf = append(b, path...)
	t.h.Write(t.buf)
}

// How long before a look a file must have changed, so that a change after the
// look has another time: clocks of file systems are coarse.
const (
	fineClock   = 100 * time.Millisecond
	coarseClock = 3 * time.Second
)

// end returns the checksum, "" if it does not tell a later change apart.
// Began is when the first file was looked at, at the latest.
func (t *treeSum) end(began time.Time) string {
	margin := coarseClock
	if t.fine {
		margin = fineClock
	}
	if t.failed || t.latest > began.Add(-margin).UnixNano() {
		return ""
	}
	return hex.EncodeToString(t.h.Sum(nil))
}
