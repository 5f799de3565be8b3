package buildkit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	control "github.com/moby/buildkit/api/services/control"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	provenance "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/util/grpcerrors"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
)

// A Record says how much of the daemon's record of each target's build goes
// into its metadata. A daemon keeps a record of every build that is not the
// run's shared one, so with RecordMin and RecordMax every target has a build
// of its own with the daemon's frontend, as with bake, and takes as long.
type Record string

const (
	RecordNone Record = ""    // nothing
	RecordMin  Record = "min" // its reference, and the provenance without steps and times
	RecordMax  Record = "max" // the whole provenance
)

// The keys of metadata that come from a record.
const (
	refKey        = "buildx.build.ref"
	provenanceKey = "buildx.build.provenance" // for a result of several platforms with "/" and the platform
)

// recorded returns metadata with what the daemon's record of a build adds. A
// daemon that keeps no records adds nothing. That a record cannot be read is
// a warning, for the target is built.
func (s *Solver) recorded(ctx context.Context, j *job, ref string, meta map[string]string) map[string]string {
	if s.opt.Record == RecordNone {
		return meta
	}
	added, err := s.record(ctx, ref)
	if err != nil {
		text := fmt.Sprintf("the builder's record of the build cannot be read, so the metadata lack it: %v", err)
		s.router.warn(j.name, text, gateway.WarnOpts{Level: 1})
	}
	out := maps.Clone(meta)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, added)
	return out
}

// record asks for the record of a build.
func (s *Solver) record(ctx context.Context, ref string) (map[string]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := s.conn.client.ControlClient().ListenBuildHistory(ctx, &control.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for {
		ev, err := events.Recv()
		switch {
		case errors.Is(err, io.EOF), grpcerrors.Code(err) == codes.Unimplemented: // BuildKit before 0.11
			return out, nil
		case err != nil:
			return nil, err
		case ev.Record == nil:
			continue
		}
		out[refKey] = s.conn.recordPrefix + ref
		more, err := s.provenances(ctx, ev.Record)
		if err != nil {
			return out, err
		}
		maps.Copy(out, more)
	}
}

// provenances reads what a record says of each result.
func (s *Solver) provenances(ctx context.Context, r *control.BuildHistoryRecord) (map[string]string, error) {
	results := map[string]*control.BuildResultInfo{}
	for platform, result := range r.Results {
		results[provenanceKey+"/"+platform] = result
	}
	if len(results) == 0 && r.Result != nil {
		results[provenanceKey] = r.Result
	}
	store := proxy.NewContentStore(s.conn.client.ContentClient())
	out := map[string]string{}
	var mu sync.Mutex
	eg, ctx := errgroup.WithContext(ctx)
	for _, key := range slices.Sorted(maps.Keys(results)) {
		desc, slsa1 := provenanceOf(results[key])
		if desc == nil {
			continue
		}
		eg.Go(func() error {
			blob, err := content.ReadBlob(ctx, store, *desc)
			if err != nil {
				return err
			}
			text, err := s.predicate(blob, slsa1)
			mu.Lock()
			defer mu.Unlock()
			out[key] = text
			return err
		})
	}
	return out, eg.Wait()
}

// provenanceOf returns the provenance among the statements about a result,
// nil if there is none, and whether it is in version 1 of its format.
func provenanceOf(r *control.BuildResultInfo) (desc *ocispec.Descriptor, slsa1 bool) {
	const kind, slsa = "in-toto.io/predicate-type", "https://slsa.dev/provenance/"
	for _, a := range r.Attestations {
		if a.MediaType == "application/vnd.in-toto+json" && strings.HasPrefix(a.Annotations[kind], slsa) {
			return &ocispec.Descriptor{MediaType: a.MediaType, Digest: digest.Digest(a.Digest), Size: a.Size}, a.Annotations[kind] == slsa+"v1"
		}
	}
	return nil, false
}

// predicate writes a provenance as bake does: in version 0.2 of the format,
// as base64 of JSON.
func (s *Solver) predicate(blob []byte, slsa1 bool) (string, error) {
	p := &provenance.ProvenancePredicateSLSA02{}
	if slsa1 {
		var newer provenance.ProvenancePredicateSLSA1
		if err := json.Unmarshal(blob, &newer); err != nil {
			return "", fmt.Errorf("read the provenance: %w", err)
		}
		p = newer.ConvertToSLSA02()
	} else if err := json.Unmarshal(blob, p); err != nil {
		return "", fmt.Errorf("read the provenance: %w", err)
	}
	if s.opt.Record == RecordMin {
		p.BuildConfig, p.Metadata = nil, nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("write the provenance: %w", err)
	}
	return base64.StdEncoding.EncodeToString(s.redact.bytes(text)), nil
}
