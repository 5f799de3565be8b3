package buildkit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/hashicorp/hcl/v2"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
)

// Images of earlier builds as bases. A target reads kiln's image store where
// a named context says store://NAME, and where its Dockerfile names an image
// by a name that somebody has given one in the store. Both become named
// contexts of the daemon, by digest, read through the session. Which image that
// is is decided before anything is exported, so that what the run itself writes
// makes no difference; a target that waits for others (depends-on) sees what
// they have written. See docs/decisions/0019-docker-as-builder.md.

// A BaseStore has the images of earlier builds.
type BaseStore interface {
	// Content has the blobs. Goroutines share it.
	Content() content.Store
	// Base returns the image that ref stands for, a name or a digest, and
	// keeps it until the run ends. The error is ErrNoBase if there is none.
	Base(ctx context.Context, ref string) (ocispec.Descriptor, error)
	// Tagged returns the image of that full name for these platforms, in
	// BuildKit's spelling, and keeps it likewise; ok is false if there is none.
	// A name that an image has from a target without tags doesn't count. It
	// is as it was when the run began, or, with fresh, as it is now.
	Tagged(ctx context.Context, name string, platforms []string, fresh bool) (desc ocispec.Descriptor, ok bool)
	// Platforms returns what the image of a digest is for.
	Platforms(ctx context.Context, digest string) ([]ocispec.Platform, error)
}

// ErrNoBase is returned by a BaseStore that does not have an image.
var ErrNoBase = errors.New("there is no such image in kiln's image store")

// A StoredContext is an image of kiln's store under the name that a
// Dockerfile uses.
type StoredContext struct {
	Name string
	Ref  string // name in full, or digest
}

// storeID names kiln's store for the daemon.
const storeID = "kiln-store"

// stored lowers a named context of kiln's store.
func (l *lowering) stored(name string, c config.NamedSource, from config.Stored) {
	ref, err := StoredRef(from.Ref)
	if err != nil {
		rng := c.Range
		l.diags = append(l.diags, &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Invalid image name", Subject: &rng,
			Detail: fmt.Sprintf("Target %q: %q names no image: %v. One of kiln's store looks like %q.", l.t.Name, from.String(), err, "store://team/app:1.2"),
		})
		return
	}
	l.req.FromStore = append(l.req.FromStore, StoredContext{Name: name, Ref: ref})
}

// StoredRef returns the full name of what follows store://, or the digest
// that it is.
func StoredRef(ref string) (string, error) {
	if strings.HasPrefix(ref, "sha256:") {
		_, err := reference.ParseAnyReference(ref)
		return ref, err
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", err
	}
	return reference.TagNameOnly(named).String(), nil
}

// prepareStored looks up the named contexts of kiln's store.
func (s *Solver) prepareStored(j *job) error {
	if len(j.req.FromStore) == 0 {
		return nil
	}
	if s.opt.Bases == nil && s.conn == nil { // nobody builds this, see foresee.go
		for _, c := range j.req.FromStore {
			j.readStored(c.Name, ocispec.Descriptor{Digest: digest.FromString(c.Ref)})
		}
		return nil
	}
	if s.opt.Bases == nil {
		return fmt.Errorf("context %q: %w: there is none here", j.req.FromStore[0].Name, ErrNoBase)
	}
	for _, c := range j.req.FromStore {
		desc, err := s.opt.Bases.Base(s.run, c.Ref)
		if err != nil {
			return fmt.Errorf("context %q: %w", c.Name, err)
		}
		j.readStored(c.Name, desc)
	}
	return nil
}

// readStored makes an image of the store a named context of the job.
func (j *job) readStored(name string, desc ocispec.Descriptor) {
	j.req.Attrs["context:"+name] = "oci-layout://" + storeID + "@" + desc.Digest.String()
	addCaps(j.req.Attrs, contextCaps)
}

// offerStored offers kiln's store to the daemon.
func (s *Solver) offerStored() {
	if s.opt.Bases != nil {
		s.addStore("oci:"+storeID, s.opt.Bases.Content())
	}
}

// imageWord finds the words by which a Dockerfile may name images.
var imageWord = regexp.MustCompile(`(?i)(?:^|\n)[ \t]*from[ \t]+(?:--platform=\S+[ \t]+)?(\S+)|from=([^\s,]+)`)

// mayRead reports whether a Dockerfile may name an image that is tagged. It
// spares most Dockerfiles a closer look.
func mayRead(dockerfile []byte, tagged func(name string) (ocispec.Descriptor, bool)) bool {
	for _, m := range imageWord.FindAllSubmatch(dockerfile, -1) {
		word := string(m[1]) + string(m[2])
		if strings.ContainsAny(word, "$\\`\"'") {
			return true
		}
		full, _, ok := fullRef(word)
		if !ok {
			continue
		}
		if _, ok := tagged(full); ok {
			return true
		}
	}
	return false
}

// findStored looks for images of the store that the Dockerfile names, and
// notes what there is to tell of them.
func (s *Solver) findStored(j *job) {
	s.checkStored(j)
	b := s.opt.Bases
	if b == nil || s.opt.Lower.Docker != nil || j.source == nil || !s.readsLayouts() || j.req.Attrs["image-resolve-mode"] == "pull" {
		return
	}
	if !mayRead(j.source, func(name string) (ocispec.Descriptor, bool) { return b.Tagged(s.run, name, nil, j.late) }) {
		return
	}
	d := s.dockerfileOf(j)
	for _, base := range d.bases(j.req, nil) {
		if base.Context != "" {
			continue
		}
		desc, ok := b.Tagged(s.run, base.Ref, d.readFor(s.platformsOf(j), isUseOf(base.Ref)), j.late)
		if !ok {
			continue
		}
		named, err := reference.ParseNormalizedNamed(base.Ref)
		if err != nil {
			continue
		}
		name := strings.TrimSuffix(reference.FamiliarString(named), ":latest")
		j.readStored(name, desc)
		if j.bases == nil {
			j.bases = map[string]string{}
		}
		j.bases[name] = desc.Digest.String()
		text := fmt.Sprintf("FROM %s is the image of that name in kiln's store, %s; with pull = true or --pull it is the registry's\n", name, desc.Digest)
		if other := s.writer(j, base.Ref); other != "" {
			text += fmt.Sprintf("This run's target %s writes that name later. To build on what it makes: contexts = { %q = %q }\n", other, name, "target:"+other)
		}
		j.notes = append(j.notes, note{text: text})
	}
}

// writer is the target of the run that is to write a name and that the job
// does not wait for; "" if there is none.
func (s *Solver) writer(j *job, name string) string {
	for _, other := range s.order {
		if other != j && !j.late && slices.Contains(other.req.Tags, name) {
			return other.name
		}
	}
	return ""
}

// readsLayouts reports whether the daemon reads images by way of the session.
func (s *Solver) readsLayouts() bool { return s.conn == nil || s.conn.version != "" }

// readFor returns the platforms for which a Dockerfile reads what isOf is true
// of: those of the target, or those that FROM --platform says.
func (d *Dockerfile) readFor(targets []string, isOf func(ref string) bool) []string {
	var out []string
	for _, st := range d.stages {
		for _, u := range st.uses {
			if !isOf(u.ref) {
				continue
			}
			wanted := u.platforms
			if len(wanted) == 0 {
				wanted = targets
			}
			for _, p := range wanted {
				if !slices.Contains(out, p) {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// isUseOf tells what means the image of that full name.
func isUseOf(full string) func(ref string) bool {
	return func(ref string) bool {
		name, _, ok := fullRef(ref)
		return ok && name == full
	}
}

// A note is what a job has to tell of itself: lines, or a warning.
type note struct {
	text    string
	warning bool
}

// checkStored notes which images of the store, of those that named contexts
// say, are not for the platforms that they are read for: one without an index
// is read all the same.
func (s *Solver) checkStored(j *job) {
	if len(j.req.FromStore) == 0 || s.opt.Bases == nil || j.source == nil {
		return
	}
	d := s.dockerfileOf(j)
	for _, c := range j.req.FromStore {
		wanted := d.readFor(s.platformsOf(j), func(ref string) bool { return replacement(j.req, ref) == c.Name })
		_, dgst, _ := strings.Cut(j.req.Attrs["context:"+c.Name], "@")
		have, err := s.opt.Bases.Platforms(s.run, dgst)
		if err != nil {
			continue // told by who reads it
		}
		have = slices.DeleteFunc(have, func(p ocispec.Platform) bool { return p.OS == "unknown" }) // attestations
		var lacks []string
		for _, w := range wanted {
			p, err := platforms.Parse(w)
			if err == nil && !slices.ContainsFunc(have, platforms.OnlyStrict(p).Match) {
				lacks = append(lacks, w)
			}
		}
		if len(lacks) > 0 {
			var there []string
			for _, p := range have {
				there = append(there, platforms.Format(p))
			}
			j.notes = append(j.notes, note{warning: true, text: fmt.Sprintf("Context %q is an image of kiln's store for %s, and is read for %s", c.Name, strings.Join(there, ", "), strings.Join(lacks, ", "))})
		}
	}
}

// platformsOf are the platforms that a job is built for.
func (s *Solver) platformsOf(j *job) []string {
	if p := j.req.Attrs["platform"]; p != "" {
		return strings.Split(p, ",")
	}
	if s.conn != nil {
		return s.conn.Platforms()[:1]
	}
	return nil
}

// note tells what was noted of a job, once, in its log.
func (s *Solver) note(j *job) {
	j.mu.Lock()
	notes := j.notes
	j.notes = nil
	j.mu.Unlock()
	for _, n := range notes {
		if n.warning {
			s.router.warn(j.name, n.text, gateway.WarnOpts{})
		} else {
			s.router.say(j.name, n.text)
		}
	}
}

// say adds a line of kiln's own to the log of a node.
func (r *router) say(node, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.send(exec.Event{Node: node, Kind: exec.Log, Log: []byte(text)})
	}
}

// contextCaps tells frontends that named contexts are given.
const contextCaps = "moby.buildkit.frontend.contexts+forward"

// addCaps adds a capability to those that frontends are told of.
func addCaps(attrs map[string]string, caps string) {
	have := attrs["frontend.caps"]
	switch {
	case have == "":
		attrs["frontend.caps"] = caps
	case !slices.Contains(strings.Split(have, ","), caps):
		attrs["frontend.caps"] = have + "," + caps
	}
}
