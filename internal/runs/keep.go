package runs

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/internal/atomicfile"
)

// What a directory of records may hold.
const (
	maxRuns    = 20       // of one definition
	maxRecords = 400      // of all definitions
	maxBytes   = 64 << 20 // of all records and lists
	maxRecord  = 64 << 20 // bytes of one that is read, unpacked; a longer one is not ours
)

// ErrNoRun is returned, wrapped, by Load for a run of which there is no
// record.
var ErrNoRun = errors.New("there is no record of this run")

// A Keeper keeps records in a directory. Several processes may use one at
// once: a file is written whole, or is not there.
type Keeper struct{ dir string }

// Open returns the keeper of the records in dir, which need not exist.
func Open(dir string) *Keeper { return &Keeper{dir} }

// An Entry is a record that is kept.
type Entry struct {
	ID         string // of the run
	definition string // key of the definition
	size       int64
}

const suffix = ".json.gz"

// key tells definitions apart in the names of files.
func key(definition string) string {
	sum := sha256.Sum256([]byte(definition))
	return hex.EncodeToString(sum[:6])
}

func (e Entry) file() string { return e.ID + "-" + e.definition + suffix }

// Save keeps the record of a run and the lists of what it was sent, and lets
// go of the oldest where there are more than may be.
func (k *Keeper) Save(r *Run, listings []exec.Listing) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("keep the record of the run: %w", err)
	}
	for _, l := range listings {
		ref, err := k.saveListing(l)
		if err != nil {
			return fmt.Errorf("keep the list of files of %s: %w", l.Dir, err)
		}
		r.Listings = append(r.Listings, ref)
	}
	if err := k.write(Entry{ID: r.ID, definition: key(r.Definition)}.file(), func(w io.Writer) error { return json.NewEncoder(w).Encode(r) }); err != nil {
		return fmt.Errorf("keep the record of the run: %w", err)
	}
	k.tidy()
	return nil
}

// write makes a packed file at once.
func (k *Keeper) write(name string, fill func(io.Writer) error) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := fill(z); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(k.dir, name), b.Bytes(), atomicfile.Options{Prefix: newPrefix})
}

// newPrefix begins the names of files that are being written.
const newPrefix = ".new-"

// Entries lists what is kept, the newest first. There is none where the
// directory cannot be read.
func (k *Keeper) Entries() []Entry {
	files, _ := os.ReadDir(k.dir) // not there: nothing was kept yet
	var out []Entry
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), suffix)
		cut := strings.LastIndexByte(name, '-')
		if !ok || cut < 0 || strings.HasPrefix(name, ".") {
			continue
		}
		e := Entry{ID: name[:cut], definition: name[cut+1:]}
		if fi, err := f.Info(); err == nil {
			e.size = fi.Size()
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(strings.Compare(b.ID, a.ID), strings.Compare(a.definition, b.definition))
	})
	return out
}

// Of returns the entries of a definition, in their order.
func Of(entries []Entry, definition string) []Entry {
	k := key(definition)
	var out []Entry
	for _, e := range entries {
		if e.definition == k {
			out = append(out, e)
		}
	}
	return out
}

// Load reads a record.
func (k *Keeper) Load(e Entry) (*Run, error) {
	var r Run
	err := k.read(e.file(), func(rd io.Reader) error { return json.NewDecoder(rd).Decode(&r) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s", ErrNoRun, e.ID)
	case err != nil:
		return nil, fmt.Errorf("read the record of the run %s: %w", e.ID, err)
	case r.Version != Version:
		return nil, fmt.Errorf("the record of the run %s is of another kiln: its format is %d, not %d", e.ID, r.Version, Version)
	}
	return &r, nil
}

func (k *Keeper) read(name string, take func(io.Reader) error) error {
	f, err := os.Open(filepath.Join(k.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	return take(io.LimitReader(z, maxRecord))
}

// tidy lets go of the oldest records, and of the lists that no record has
// been written with for as long. What cannot be removed stays.
func (k *Keeper) tidy() {
	entries := k.Entries()
	lists := k.lists()
	total := int64(0)
	for _, l := range lists {
		total += l.size
	}
	perDefinition := map[string]int{}
	kept := 0
	for _, e := range entries {
		perDefinition[e.definition]++
		total += e.size
		if perDefinition[e.definition] > maxRuns || kept >= maxRecords || total > maxBytes && kept > 1 {
			os.Remove(filepath.Join(k.dir, e.file()))
			total -= e.size
			continue
		}
		kept++
	}
	k.tidyLists(lists, total)
}
