package buildkit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// prepareStores opens the OCI layouts and local caches that a job reads.
func (s *Solver) prepareStores(j *job) error {
	j.cacheIn = nil
	if err := s.prepareStored(j); err != nil {
		return err
	}
	for _, l := range j.req.Layouts {
		if err := s.prepareLayout(j, l); err != nil {
			return fmt.Errorf("context %q: %w", l.Name, err)
		}
	}
	for _, c := range j.req.CacheFrom {
		entry, ok, err := s.cacheImport(c)
		if err != nil {
			return err
		}
		if ok {
			j.cacheIn = append(j.cacheIn, entry)
		}
	}
	return nil
}

// layoutID names the store of a layout for the daemon.
func layoutID(path string) string {
	sum := sha256.Sum256([]byte(path))
	return "layout-" + hex.EncodeToString(sum[:8])
}

func (s *Solver) prepareLayout(j *job, l Layout) error {
	path := s.abs(l.Path)
	index, err := readIndex(path)
	if err != nil {
		return err
	}
	digest := l.Digest
	if digest == "" {
		tag := l.Tag
		if tag == "" {
			tag = "latest"
		}
		desc := findTag(index, tag, l.Tag == "")
		if desc == nil {
			return fmt.Errorf("the OCI layout %s has no image %q", l.Path, tag)
		}
		digest = desc.Digest.String()
	}
	store, err := contentlocal.NewStore(path)
	if err != nil {
		return err
	}
	id := layoutID(path)
	s.addStore("oci:"+id, store)
	j.req.Attrs["context:"+l.Name] = "oci-layout://" + id + "@" + digest
	return nil
}

func (s *Solver) addStore(name string, store content.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caches[name] = store
}

func readIndex(dir string) (*ocispec.Index, error) {
	data, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not an OCI layout: it has no %s: %w", dir, ocispec.ImageIndexFile, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s is not an OCI layout: %s: %w", dir, ocispec.ImageIndexFile, err)
	}
	return &index, nil
}

// findTag returns the image of that tag; with lone, also the only one there is.
func findTag(index *ocispec.Index, tag string, lone bool) *ocispec.Descriptor {
	for _, d := range index.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] == tag || d.Annotations["io.containerd.image.name"] == tag {
			return &d
		}
	}
	if lone && len(index.Manifests) == 1 {
		return &index.Manifests[0]
	}
	return nil
}

// cacheImport completes a cache source; ok is false for one that cannot be
// there, which is no mistake: the first build has none.
func (s *Solver) cacheImport(c Cache) (entry gateway.CacheOptionsEntry, ok bool, err error) {
	attrs := maps.Clone(c.Attrs)
	if attrs == nil {
		attrs = map[string]string{}
	}
	entry = gateway.CacheOptionsEntry{Type: c.Type, Attrs: attrs}
	if c.Type != "local" {
		return entry, s.cacheCredentials(c.Type, attrs), nil
	}
	path := s.abs(attrs["src"])
	attrs["src"] = path
	index, err := readIndex(path)
	if errors.Is(err, fs.ErrNotExist) {
		return entry, false, nil
	}
	if err != nil {
		return entry, false, fmt.Errorf("cache source: %w", err)
	}
	if attrs["digest"] == "" {
		tag := attrs["tag"]
		if tag == "" {
			tag = "latest"
		}
		desc := findTag(index, tag, false)
		if desc == nil {
			return entry, false, nil
		}
		attrs["digest"] = desc.Digest.String()
	}
	store, err := contentlocal.NewStore(path)
	if err != nil {
		return entry, false, err
	}
	s.addStore("local:"+path, store)
	return entry, true, nil
}

// cacheEntries puts cache sources in the form that builds of their own take.
func cacheEntries(in []gateway.CacheOptionsEntry) []client.CacheOptionsEntry {
	var out []client.CacheOptionsEntry
	for _, e := range in {
		out = append(out, client.CacheOptionsEntry{Type: e.Type, Attrs: maps.Clone(e.Attrs)})
	}
	return out
}

// cacheExports returns the job's cache destinations. The daemon goes on after
// an error of one, unless the build file says ignore-error=false.
func (s *Solver) cacheExports(j *job) []client.CacheOptionsEntry {
	var out []client.CacheOptionsEntry
	for _, c := range j.req.CacheTo {
		attrs := maps.Clone(c.Attrs)
		if attrs == nil {
			attrs = map[string]string{}
		}
		if c.Type == "local" {
			attrs["dest"] = s.abs(attrs["dest"])
		}
		if attrs["ignore-error"] == "" && c.Type != "inline" {
			attrs["ignore-error"] = "true" // the exports are told of it: see cacheWatch
		}
		if s.cacheCredentials(c.Type, attrs) {
			out = append(out, client.CacheOptionsEntry{Type: c.Type, Attrs: attrs})
		}
	}
	return out
}

// fromEnv are the attributes that a cache takes from the environment where
// the build file has none. Those of s3 and azblob are the daemon's own names
// for them: kiln's may differ from those that its engine was started with.
var fromEnv = map[string][]struct{ attr, env string }{
	"gha": {
		{"token", "ACTIONS_RUNTIME_TOKEN"}, {"url", "ACTIONS_CACHE_URL"}, {"url", "ACTIONS_RESULTS_URL"},
	},
	"s3": {
		{"access_key_id", "AWS_ACCESS_KEY_ID"}, {"secret_access_key", "AWS_SECRET_ACCESS_KEY"},
		{"session_token", "AWS_SESSION_TOKEN"}, {"region", "AWS_REGION"}, {"bucket", "AWS_BUCKET"},
	},
	"azblob": {
		{"account_url", "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"}, {"account_name", "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME"},
		{"secret_access_key", "BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY"},
		{"container", "BUILDKIT_AZURE_STORAGE_CONTAINER"}, {"prefix", "BUILDKIT_AZURE_STORAGE_PREFIX"},
	},
}

// cacheCredentials completes the attributes of a cache from the environment,
// and reports whether the cache can be used: outside of GitHub's runners
// there is no gha cache.
func (s *Solver) cacheCredentials(typ string, attrs map[string]string) bool {
	ownKey := attrs["access_key_id"] != "" && attrs["secret_access_key"] != "" // which a session of another key does not fit
	for _, f := range fromEnv[typ] {
		value := s.opt.Getenv(f.env)
		if attrs[f.attr] == "" && value != "" && !(ownKey && f.attr == "session_token") {
			attrs[f.attr] = value
		}
	}
	if typ == "gha" {
		s.ghaVersion(attrs)
	}
	for _, secret := range []string{"token", "secret_access_key", "session_token"} {
		s.redact.add([]byte(attrs[secret]))
	}
	return typ != "gha" || attrs["token"] != "" && (attrs["url"] != "" || attrs["url_v2"] != "")
}

// ghaVersion names the address of the second version of GitHub's service
// where that is to be used. BuildKit uses it if it is named, and a runner has
// it in its environment in either case.
func (s *Solver) ghaVersion(attrs map[string]string) {
	second, _ := strconv.ParseBool(s.opt.Getenv("ACTIONS_CACHE_SERVICE_V2")) // unset or malformed: no
	if v := attrs["version"]; v != "" {
		second = v == "2"
	}
	if url := s.opt.Getenv("ACTIONS_RESULTS_URL"); second && attrs["url_v2"] == "" && url != "" {
		attrs["url_v2"] = url
	}
}
