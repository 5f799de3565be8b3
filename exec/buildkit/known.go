package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/kilnbuild/kiln/internal/atomicfile"
)

// What the daemon knows already. It keeps what was uploaded of a directory
// under the session that it came through, and asks no session for it again as
// long as it has that. So kiln remembers for each directory the session of the
// last upload, with a checksum of what was there: every path with its inode
// and the time of its last change, which no program can set. If all is as it was,
// the directory is asked for as of that session, and nothing is sent, not
// even the list of files. If the daemon has lost it after all, it is sent
// through a session of that name.

// knownUploads are what one daemon is thought to have.
type knownUploads struct {
	s    *Solver
	file string // where they are kept between runs
	read func() []knownUpload

	// mu guards the fields below.
	mu    sync.Mutex
	walks map[string]*knownWalk // by key
	late  map[string]func()     // what ends the sessions of earlier runs, by their IDs
}

// A knownUpload is what was last uploaded of a directory.
type knownUpload struct {
	Dir     string // hint of the directory
	Key     string // of the files that were asked for
	Session string // that it came through
	Sum     string // of what was there
}

// mostKnown is how many uploads are remembered; the oldest are forgotten.
const mostKnown = 2000

// newKnownUploads remembers in a directory, or not at all: where a cache is
// exported the daemon has to look at the files' content, which it does not
// for what it has.
func (s *Solver) newKnownUploads() *knownUploads {
	if s.opt.Memory == "" || slices.ContainsFunc(s.order, func(j *job) bool { return j.exportsCache() }) {
		return nil
	}
	k := &knownUploads{
		s: s, file: filepath.Join(s.opt.Memory, s.conn.workers[0].ID+".json"),
		walks: map[string]*knownWalk{}, late: map[string]func(){},
	}
	k.read = sync.OnceValue(func() (all []knownUpload) {
		data, err := os.ReadFile(k.file)
		if err != nil || json.Unmarshal(data, &all) != nil {
			return nil // everything is uploaded once more
		}
		return all
	})
	return k
}

// A knownWalk is one look at the files that a source asks for.
type knownWalk struct {
	once    sync.Once
	dir     *localDir
	key     string
	session string // to ask for the files

	// mu guards the fields below.
	mu      sync.Mutex
	files   []*fstypes.Stat // that are to be sent, should the daemon ask; nil if they were not looked at
	sum     string          // "" if it is not known, or may not be relied on
	began   time.Time
	summing *treeSum // while they are sent
	sent    bool     // all of them
}

// keyOf tells sources apart of which the daemon keeps uploads apart.
func keyOf(name string, f *fsutil.FilterOpt) string {
	text, _ := json.Marshal([]any{name, orNone(f.IncludePatterns), orNone(f.ExcludePatterns), orNone(f.FollowPaths)}) // strings always encode
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func orNone(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// filterOf returns what a source asks for, and whether that is all there is
// to it.
func filterOf(attrs map[string]string) (*fsutil.FilterOpt, bool) {
	f := &fsutil.FilterOpt{}
	for k, v := range attrs {
		var list *[]string
		switch k {
		case pb.AttrLocalSessionID, pb.AttrLocalUniqueID, pb.AttrSharedKeyHint:
			continue
		case pb.AttrIncludePatterns:
			list = &f.IncludePatterns
		case pb.AttrExcludePatterns:
			list = &f.ExcludePatterns
		case pb.AttrFollowPaths:
			list = &f.FollowPaths
		default:
			return nil, false
		}
		if json.Unmarshal([]byte(v), list) != nil {
			return nil, false
		}
	}
	return f, true
}

// session returns the session that the daemon is to ask for the files of a
// source: an earlier run's if it has them from there, else the run's.
func (k *knownUploads) session(dir *localDir, attrs map[string]string, own string) string {
	if k == nil || own != k.s.sess.ID() || dir.root == "" {
		return own
	}
	filter, ok := filterOf(attrs)
	if !ok {
		return own
	}
	key := keyOf(dir.name, filter)
	k.mu.Lock()
	w := k.walks[key]
	if w == nil {
		w = &knownWalk{dir: dir, key: key, session: own}
		k.walks[key] = w
	}
	k.mu.Unlock()
	w.once.Do(func() { k.look(w, filter) })
	return w.session
}

// look compares what is there with what was uploaded last.
func (k *knownUploads) look(w *knownWalk, filter *fsutil.FilterOpt) {
	all := k.read()
	i := slices.IndexFunc(all, func(u knownUpload) bool { return u.Dir == w.dir.hint })
	if i < 0 || all[i].Key != w.key {
		return // what there is will be seen while it is sent
	}
	began, sum := time.Now(), newTreeSum(w.dir.root)
	var files []*fstypes.Stat
	lean := &leanFS{root: w.dir.root, seen: map[string]fs.FileInfo{}}
	dir, err := fsutil.NewFilterFS(lean, filter)
	if err == nil {
		err = dir.Walk(k.s.run, "/", func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			st, err := statOf(e)
			if err == nil {
				files = append(files, st)
				sum.addInfo(st.Path, lean.seen[st.Path])
			}
			return err
		})
	}
	if err != nil { // it is told when the daemon asks
		return
	}
	if !w.looked(sum.end(began), files, sum.linked, all[i]) {
		return
	}
	if d, ok := w.dir.fs.(notedDir); ok {
		u := d.begin()
		for _, st := range files {
			u.packet(&fstypes.Packet{Type: fstypes.PACKET_STAT, Stat: st})
		}
	}
	k.standBy(all[i].Session)
}

// looked takes in what a look has found, and reports whether that is what was
// uploaded last.
func (w *knownWalk) looked(sum string, files []*fstypes.Stat, linked bool, last knownUpload) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum = sum
	if !linked { // else the first of the names has to be found out
		w.files = files
	}
	if sum == "" || sum != last.Sum {
		return false
	}
	w.session = last.Session
	return true
}

// statOf returns fsutil's description of a file.
func statOf(e fs.DirEntry) (*fstypes.Stat, error) {
	fi, err := e.Info()
	if err != nil {
		return nil, err
	}
	st, ok := fi.Sys().(*fstypes.Stat)
	if !ok {
		return nil, errors.New("a file without a description")
	}
	return st, nil
}

// patient is how long a daemon may take before it is thought to wait for a
// session of an earlier run.
const patient = 50 * time.Millisecond

// standBy opens a session under the ID of an earlier one, should the daemon
// wait for it.
func (k *knownUploads) standBy(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.late[id] != nil {
		return
	}
	ctx, cancel := context.WithCancel(k.s.run)
	k.late[id] = cancel
	k.s.wait.Add(1)
	go func() {
		defer k.s.wait.Done()
		select {
		case <-time.After(patient):
		case <-ctx.Done():
			return
		}
		sess, err := session.NewSession(ctx, sharedKey())
		if err != nil {
			return // after a while, the daemon asks the run's
		}
		sess.Allow(&fileServer{dirs: k.s.locals, known: k})
		_ = sess.Run(ctx, named(id, gathering(k.s.conn.client.Dialer())))
	}()
}

// named is dial for a session with another ID than its own.
func named(id string, dial session.Dialer) session.Dialer {
	return func(ctx context.Context, proto string, meta map[string][]string) (conn net.Conn, err error) {
		meta = maps.Clone(meta)
		for k := range meta {
			if strings.EqualFold(k, sessionIDHeader) {
				meta[k] = []string{id}
			}
		}
		return dial(ctx, proto, meta)
	}
}

// sessionIDHeader is where a session says its ID.
const sessionIDHeader = "X-Docker-Expose-Session-Uuid"

// sending returns what is known of a source whose files the daemon asks for.
func (k *knownUploads) sending(name string, filter *fsutil.FilterOpt) *knownWalk {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.walks[keyOf(name, filter)]
}

// told sees a message before it goes to the daemon: what a file is, or that
// everything was sent, after which the run may end at any moment.
func (w *knownWalk) told(p *fstypes.Packet) {
	if w == nil || p.Type != fstypes.PACKET_STAT && p.Type != fstypes.PACKET_FIN {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Type == fstypes.PACKET_FIN {
		w.sent = true
		return
	}
	if w.files != nil {
		return // it was looked at before
	}
	if w.summing == nil {
		w.began, w.summing = time.Now(), newTreeSum(w.dir.root)
	}
	if p.Stat != nil {
		w.summing.add(p.Stat)
		return
	}
	w.sum, w.summing = w.summing.end(w.began), nil
}

// close remembers what was uploaded, and ends the sessions.
func (k *knownUploads) close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, cancel := range k.late {
		cancel()
	}
	var learned []knownUpload
	for _, key := range slices.Sorted(maps.Keys(k.walks)) {
		w := k.walks[key]
		w.mu.Lock()
		if w.sent {
			learned = append(learned, knownUpload{Dir: w.dir.hint, Key: w.key, Session: w.session, Sum: w.sum})
		}
		w.mu.Unlock()
	}
	if len(learned) > 0 {
		k.save(learned)
	}
}

// save writes what is known to the file. Of a directory that was uploaded
// twice nothing is: the daemon keeps the last of them, whichever that was.
func (k *knownUploads) save(learned []knownUpload) {
	count := map[string]int{}
	for _, u := range learned {
		count[u.Dir]++
	}
	all := slices.DeleteFunc(slices.Clone(k.read()), func(u knownUpload) bool { return count[u.Dir] > 0 })
	for _, u := range learned {
		if count[u.Dir] == 1 && u.Sum != "" {
			all = append(all, u)
		}
	}
	data, err := json.Marshal(all[max(0, len(all)-mostKnown):])
	if err != nil {
		return
	}
	if os.MkdirAll(k.s.opt.Memory, 0o700) == nil {
		_ = atomicfile.Write(k.file, data, atomicfile.Options{}) // it would only have saved the next upload
	}
}
