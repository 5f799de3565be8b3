package buildkit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
)

// Files that change. Directories are in use while they are sent. A file that
// is written to meanwhile would be half of one version and half of another, in
// the image and in the cache. BuildKit's sender does not look; besides, it
// sends an empty file for one that it cannot open, and waits for ever after
// one that it cannot read. So files are sent as they were at one moment, or
// the daemon is told what is wrong.

// newFiles offers directories to the daemon.
func newFiles(dirs filesync.DirSource) session.Attachable { return &fileServer{dirs: dirs} }

// A fileServer implements filesync.FileSyncServer, by BuildKit's own.
type fileServer struct {
	dirs  filesync.DirSource
	known *knownUploads // learns what was sent; may be nil
}

// Register implements session.Attachable.
func (f *fileServer) Register(server *grpc.Server) { filesync.RegisterFileSyncServer(server, f) }

// DiffCopy sends what the daemon lacks of a directory.
func (f *fileServer) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	s := &fileStream{FileSync_DiffCopyServer: stream}
	d := &steadyDirs{DirSource: f.dirs, stream: s, known: f.known}
	return filesync.NewFSSyncProvider(d, d.choose).(filesync.FileSyncServer).DiffCopy(s)
}

// TarStream is of an older protocol, which is refused.
func (f *fileServer) TarStream(stream filesync.FileSync_TarStreamServer) error {
	return filesync.NewFSSyncProvider(f.dirs).(filesync.FileSyncServer).TarStream(stream)
}

// A fileStream is the way to the daemon, on which a file can fail.
type fileStream struct {
	filesync.FileSync_DiffCopyServer
	noted *upload    // nil if nobody notes what is sent
	walk  *knownWalk // nil if nobody wants to know it in the next run
	mu    sync.Mutex // held while a message is sent
}

// SendMsg implements grpc.ServerStream.
func (s *fileStream) SendMsg(m any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := m.(*fstypes.Packet); ok {
		s.noted.packet(p)
		s.walk.told(p)
	}
	return s.FileSync_DiffCopyServer.SendMsg(m)
}

// fail tells the daemon that the transfer has come to nothing, and why.
func (s *fileStream) fail(err error) error {
	_ = s.SendMsg(&fstypes.Packet{Type: fstypes.PACKET_ERR, Data: []byte(err.Error())}) // who has gone need not know
	return err
}

// steadyDirs are directories whose files are sent over a stream.
type steadyDirs struct {
	filesync.DirSource
	stream *fileStream
	known  *knownUploads
	chosen *steadyFS
}

// choose hears what the daemon asks for of the directory that was looked up.
func (d *steadyDirs) choose(name string, filter *fsutil.FilterOpt) error {
	d.stream.walk = d.known.sending(name, filter)
	d.chosen.FS = d.stream.walk.listed(d.chosen.FS)
	return nil
}

// LookupDir implements filesync.DirSource.
func (d *steadyDirs) LookupDir(name string) (fsutil.FS, bool) {
	dir, ok := d.DirSource.LookupDir(name)
	if n, ok := dir.(notedDir); ok {
		d.stream.noted, dir = n.begin(), n.FS
	}
	d.chosen = &steadyFS{dir, d.stream}
	return d.chosen, ok
}

type steadyFS struct {
	fsutil.FS
	stream *fileStream
}

// Open implements fsutil.FS.
func (s *steadyFS) Open(path string) (io.ReadCloser, error) {
	f, err := s.FS.Open(path)
	switch {
	case isSocket(err): // an empty file to the daemon, as with other clients
		return io.NopCloser(strings.NewReader("")), nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.stream.fail(fmt.Errorf("%s was removed while the directory was read: build again when nothing changes it, or leave it out by .dockerignore", path))
	case err != nil:
		return nil, s.stream.fail(fmt.Errorf("%w: make it readable, or leave it out by .dockerignore", err))
	}
	file, ok := f.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return f, nil // it is in memory
	}
	fi, err := settled(file.Stat)
	if err != nil {
		f.Close()
		return nil, s.stream.fail(err)
	}
	return &steadyFile{ReadCloser: f, fs: s, path: path, began: fi, stat: file.Stat}, nil
}

// fileTick is more than the longest time by which the time of a file may be
// behind the clock: systems keep it in ticks of 1 to 10 ms.
const fileTick = 20 * time.Millisecond

// settled is what stat says of a file that was not written to just now:
// what is written in one tick has one time, and could not be told from what
// was there before. Of a file that is written to again and again it is the
// first.
func settled(stat func() (fs.FileInfo, error)) (fs.FileInfo, error) {
	first, err := stat()
	fi := first
	for range 5 {
		if err != nil {
			return nil, err
		}
		age := time.Since(fi.ModTime())
		if age < 0 || age > fileTick { // of another clock, or settled
			return fi, nil
		}
		time.Sleep(fileTick - age + time.Millisecond)
		fi, err = stat()
	}
	return first, err
}

// isSocket reports whether err is that of opening a socket as a file.
func isSocket(err error) bool {
	return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EOPNOTSUPP)
}

// A steadyFile fails at its end unless it is what it was at the beginning.
type steadyFile struct {
	io.ReadCloser
	fs    *steadyFS
	path  string
	began fs.FileInfo
	stat  func() (fs.FileInfo, error)
	read  int64
}

func (f *steadyFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	f.read += int64(n)
	switch {
	case f.read > f.began.Size(): // it may grow as fast as it is read
		return 0, f.changed()
	case err == nil:
		return n, nil
	case err != io.EOF:
		return 0, f.fs.stream.fail(fmt.Errorf("read %s: %w", f.path, err))
	}
	now, err := f.stat()
	if err != nil || f.read != f.began.Size() || now.Size() != f.began.Size() || !now.ModTime().Equal(f.began.ModTime()) {
		return 0, f.changed()
	}
	return n, io.EOF
}

func (f *steadyFile) changed() error {
	return f.fs.stream.fail(fmt.Errorf("%s was written to while it was read: build again when nothing changes it, or leave it out by .dockerignore", f.path))
}
