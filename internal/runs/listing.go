package runs

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
)

// Lists of files. A list is kept under a name made of its directory, and of
// what all its files are (path, mode, size, time): a run that is sent the same
// writes none. What it says of contents is filled up from the list before:
// a daemon asks only for the contents of files that it does not know.

// maxLists is how many lists are kept.
const maxLists = 200

const listSuffix = ".list.gz"

// listName is the part of a list's name that is its directory's.
func listName(dir string) string { return "files-" + key(dir) + "-" }

// saveListing keeps a list and says where.
func (k *Keeper) saveListing(l exec.Listing) (ListingRef, error) {
	ref := ListingRef{Dir: l.Dir, ID: listName(l.Dir) + fingerprint(l.Files), Files: len(l.Files), More: l.More}
	name := ref.ID + listSuffix
	now := time.Now()
	if os.Chtimes(filepath.Join(k.dir, name), now, now) == nil {
		return ref, nil
	}
	k.carryOver(l)
	return ref, k.write(name, func(w io.Writer) error { return writeListing(w, l.Files) })
}

// fingerprint names what all files are.
func fingerprint(files []exec.ListedFile) string {
	h := sha256.New()
	var line []byte
	for _, f := range files {
		f.Check = 0
		line = appendFile(line[:0], f)
		h.Write(line)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// carryOver takes what is known of the contents of files from the newest list
// of the directory, for those that are what they were.
func (k *Keeper) carryOver(l exec.Listing) {
	for _, old := range k.lists() { // the newest first
		if !strings.HasPrefix(old.name, listName(l.Dir)) {
			continue
		}
		before, err := k.Listing(strings.TrimSuffix(old.name, listSuffix))
		if err != nil {
			return
		}
		known := map[string]exec.ListedFile{}
		for _, f := range before {
			known[f.Path] = f
		}
		for i, f := range l.Files {
			if was := known[f.Path]; f.Check == 0 && was.Size == f.Size && was.Time == f.Time && was.Mode == f.Mode {
				l.Files[i].Check = was.Check
			}
		}
		return
	}
}

// A line of a list: mode, size, time and check as numbers, then the path and
// what a link leads to, quoted.
func appendFile(b []byte, f exec.ListedFile) []byte {
	b = strconv.AppendUint(b, uint64(f.Mode), 8)
	b = append(b, ' ')
	b = strconv.AppendInt(b, f.Size, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, f.Time, 36)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(f.Check), 36)
	b = append(b, ' ')
	b = strconv.AppendQuote(b, f.Path)
	if f.Link != "" {
		b = append(b, ' ')
		b = strconv.AppendQuote(b, f.Link)
	}
	return append(b, '\n')
}

func writeListing(w io.Writer, files []exec.ListedFile) error {
	out := bufio.NewWriter(w)
	var line []byte
	for _, f := range files {
		line = appendFile(line[:0], f)
		out.Write(line) // Flush has the error
	}
	return out.Flush()
}

// Listing reads the list that a ListingRef names.
func (k *Keeper) Listing(id string) ([]exec.ListedFile, error) {
	var files []exec.ListedFile
	err := k.read(filepath.Base(id)+listSuffix, func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			f, err := parseFile(lines.Text())
			if err != nil {
				return err
			}
			files = append(files, f)
		}
		return lines.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read the list of files %s: %w", id, err)
	}
	return files, nil
}

func parseFile(line string) (exec.ListedFile, error) {
	var f exec.ListedFile
	parts := strings.SplitN(line, " ", 5)
	if len(parts) != 5 {
		return f, fmt.Errorf("%q is no line of it", line)
	}
	mode, err1 := strconv.ParseUint(parts[0], 8, 32)
	size, err2 := strconv.ParseInt(parts[1], 10, 64)
	at, err3 := strconv.ParseInt(parts[2], 36, 64)
	check, err4 := strconv.ParseUint(parts[3], 36, 32)
	quoted, err5 := strconv.QuotedPrefix(parts[4])
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			return f, err
		}
	}
	f.Mode, f.Size, f.Time, f.Check = uint32(mode), size, at, uint32(check)
	f.Path, _ = strconv.Unquote(quoted) // it is quoted
	if rest := strings.TrimPrefix(parts[4][len(quoted):], " "); rest != "" {
		link, err := strconv.Unquote(rest)
		if err != nil {
			return f, err
		}
		f.Link = link
	}
	return f, nil
}

// A keptList is the file of a list.
type keptList struct {
	name string
	size int64
	used time.Time
}

// lists are all that are kept, the last used first.
func (k *Keeper) lists() []keptList {
	files, _ := os.ReadDir(k.dir)
	var out []keptList
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), listSuffix) {
			continue
		}
		if fi, err := f.Info(); err == nil {
			out = append(out, keptList{f.Name(), fi.Size(), fi.ModTime()})
		}
	}
	slices.SortFunc(out, func(a, b keptList) int {
		if c := b.used.Compare(a.used); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return out
}

// tidyLists lets go of the lists that were used longest ago, and of what a
// kiln that was killed has left half written.
func (k *Keeper) tidyLists(lists []keptList, total int64) {
	for i, l := range slices.Backward(lists) {
		if i < maxLists && (total <= maxBytes || i == 0) {
			break
		}
		if os.Remove(filepath.Join(k.dir, l.name)) == nil {
			total -= l.size
		}
	}
	halves, _ := filepath.Glob(filepath.Join(k.dir, newPrefix+"*"))
	for _, h := range halves {
		if fi, err := os.Stat(h); err == nil && time.Since(fi.ModTime()) > time.Hour {
			os.Remove(h)
		}
	}
}
