package cli

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/runs"
	"github.com/kilnbuild/kiln/internal/store"
)

// An ownStore is kiln's image store, for a run: its images tell which target
// and definition they are of, and how they were built.
type ownStore struct {
	*store.Store
	definition string

	mu  sync.Mutex     // guards put
	put []storedTarget // in no certain order
}

// A storedTarget is an image that a target of the run was put as.
type storedTarget struct {
	digest digest.Digest
	target string
}

// Put implements [buildkit.ImageStore].
func (s *ownStore) Put(ctx context.Context, refs []string, desc ocispec.Descriptor) error {
	desc.Annotations = maps.Clone(desc.Annotations)
	if desc.Annotations == nil {
		desc.Annotations = map[string]string{}
	}
	desc.Annotations[store.AnnotationDefinition] = s.definition
	if err := s.Store.Put(ctx, refs, desc); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put = append(s.put, storedTarget{desc.Digest, desc.Annotations[store.AnnotationTarget]})
	return nil
}

// A buildRecord is what is kept beside an image of the build that made it, as
// JSON. `kiln inspect` prints it without the steps. Docs/images.md describes it.
type buildRecord struct {
	Version    int          `json:"version"`
	Run        string       `json:"run"` // its ID, by which `kiln report` has it
	Kiln       string       `json:"kiln,omitempty"`
	Target     string       `json:"target"`
	Definition string       `json:"definition,omitempty"` // directory or URL
	Files      []string     `json:"files,omitempty"`
	Commit     string       `json:"commit,omitempty"`
	Builders   []string     `json:"builders,omitempty"`
	Started    time.Time    `json:"started,omitzero"`
	Finished   time.Time    `json:"finished,omitzero"`
	DurationMs int64        `json:"durationMs"`
	Steps      int          `json:"steps"`  // of Dockerfiles
	Cached     int          `json:"cached"` // of these, found in the cache
	Share      float64      `json:"cachedShare"`
	All        []*runs.Step `json:"all,omitempty"`
}

// keep writes the records of the images that the run has put, where there is
// none yet: what made an image first is what it was made by.
func (s *ownStore) keep(r *runs.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.put {
		t := r.Target(p.target)
		if t == nil || s.HasRecord(p.digest, p.target) {
			continue
		}
		record, err := json.Marshal(recordOf(r, t))
		if err == nil {
			err = s.PutRecord(p.digest, p.target, record)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recordOf is what a run tells of one of its targets.
func recordOf(r *runs.Run, t *runs.Target) *buildRecord {
	out := &buildRecord{
		Version: 1, Run: r.ID, Kiln: r.Kiln, Target: t.Name, Definition: r.Definition, Files: r.Files, Commit: r.Commit,
		Builders: t.Builders, Started: t.Started, Finished: t.Finished, DurationMs: t.Took().Milliseconds(), All: t.Steps,
	}
	if len(out.Builders) == 0 {
		out.Builders = r.Builders
	}
	out.Cached, out.Steps = t.Counts()
	if out.Steps > 0 {
		out.Share = float64(out.Cached) / float64(out.Steps)
	}
	return out
}

// buildOf returns the record of an image's build as a target; nil if there is
// none, or one that this kiln cannot read.
func buildOf(s *store.Store, d digest.Digest, target string) *buildRecord {
	if s == nil || target == "" {
		return nil
	}
	text, err := s.Record(d, target)
	var r buildRecord
	if err != nil || json.Unmarshal(text, &r) != nil || r.Version != 1 {
		return nil
	}
	return &r
}

// mostRuns is how many runs of a definition are looked through.
const mostRuns = 20

// lastBuild returns the target of the last run that has built the image; nil
// if no run is kept that has. The run is of the definition, as it is noted
// with the image.
func (a *app) lastBuild(d digest.Digest, origin store.Origin) (*runs.Run, *runs.Target) {
	keeper, err := a.keeper()
	if err != nil {
		return nil, nil
	}
	entries := runs.Of(keeper.Entries(), origin.Definition)
	for _, e := range entries[:min(len(entries), mostRuns)] {
		r, err := keeper.Load(e)
		if err != nil {
			continue
		}
		if t := r.Target(origin.BuiltAs); t != nil && t.Digest == d.String() {
			return r, t
		}
	}
	return nil, nil
}
