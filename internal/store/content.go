package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/filters"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// writerRetry is how often an ingest that another goroutine has is tried again.
const writerRetry = 10 * time.Millisecond

// ownContent is containerd's content store on the layout's blobs, with
// ingests of its own.
//
// containerd keeps a half written blob in a file that is named for the blob,
// and locks it within one process only. Two processes that fetch the same
// layer would write one file; when the first has finished, and renamed it to
// be the blob, the second may still truncate it. So every ingest gets a name
// that no other process uses.
type ownContent struct {
	content.Store
	dir    string
	prefix string                   // of this process's ingests
	owned  func() (*os.File, error) // makes this process an owner, at the first call
	owner  atomic.Bool              // it is one
	guard  string                   // file whose lock parts those who rely on a blob from those who remove it
}

// levelMu guards containerd's log level while openContent changes it.
var levelMu sync.Mutex

// openContent opens the blobs in dir. containerd warns on standard error each
// time where the file system has no fs-verity; that is no news to anybody.
func openContent(dir string) (*ownContent, error) {
	levelMu.Lock()
	defer levelMu.Unlock()
	level := log.GetLevel()
	if err := log.SetLevel(log.ErrorLevel); err != nil {
		return nil, err
	}
	s, err := contentlocal.NewStore(dir)
	if restore := log.SetLevel(level); err == nil {
		err = restore
	}
	o := newOwner(time.Now())
	c := &ownContent{Store: s, dir: dir, prefix: string(o) + "/", guard: filepath.Join(dir, guardFile)}
	c.owned = sync.OnceValues(func() (*os.File, error) {
		f, err := own(dir, o)
		c.owner.Store(f != nil)
		return f, err
	})
	return c, err
}

// Writer begins or resumes the ingest that the options name. While another
// goroutine of this process has it, Writer waits: two targets often share a
// layer, and once it is there, containerd says so. A blob of another size than
// the options tell is damaged, and is written anew.
func (o *ownContent) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	if _, err := o.owned(); err != nil {
		return nil, err
	}
	var asked content.WriterOpts
	for _, opt := range opts {
		if err := opt(&asked); err != nil {
			return nil, err
		}
	}
	if asked.Desc.Digest != "" {
		if there, err := o.rely(asked.Desc); err != nil {
			return nil, err
		} else if there {
			return nil, fmt.Errorf("content %v: %w", asked.Desc.Digest, errdefs.ErrAlreadyExists)
		}
	}
	named := func(w *content.WriterOpts) error {
		if w.Ref != "" { // else containerd says what is wrong
			w.Ref = o.prefix + w.Ref
		}
		return nil
	}
	opts = append(opts[:len(opts):len(opts)], named)
	for {
		w, err := o.Store.Writer(ctx, opts...)
		if err == nil {
			return &ownWriter{Writer: w, prefix: o.prefix}, nil
		}
		if !errdefs.IsUnavailable(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(writerRetry):
		}
	}
}

// Status returns the state of one ingest of this process.
func (o *ownContent) Status(ctx context.Context, ref string) (content.Status, error) {
	st, err := o.Store.Status(ctx, o.prefix+ref)
	st.Ref = strings.TrimPrefix(st.Ref, o.prefix)
	return st, err
}

// ListStatuses returns the ingests of this process that match a filter, or
// all if there is none.
func (o *ownContent) ListStatuses(ctx context.Context, filter ...string) ([]content.Status, error) {
	wanted, err := filters.ParseAll(filter...)
	if err != nil {
		return nil, err
	}
	all, err := o.Store.ListStatuses(ctx)
	if err != nil {
		return nil, err
	}
	var own []content.Status
	for _, st := range all {
		ref, ok := strings.CutPrefix(st.Ref, o.prefix)
		st.Ref = ref
		if ok && wanted.Match(byRef(ref)) {
			own = append(own, st)
		}
	}
	return own, nil
}

// byRef shows an ingest's name to a filter.
func byRef(ref string) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		return ref, len(path) == 1 && path[0] == "ref"
	})
}

// Abort gives up one ingest of this process.
func (o *ownContent) Abort(ctx context.Context, ref string) error {
	return o.Store.Abort(ctx, o.prefix+ref)
}

// ownWriter shows an ingest under the name that its writer gave it.
type ownWriter struct {
	content.Writer
	prefix string
}

func (w *ownWriter) Status() (content.Status, error) {
	st, err := w.Writer.Status()
	st.Ref = strings.TrimPrefix(st.Ref, w.prefix)
	return st, err
}
