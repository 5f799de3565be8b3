package examples

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestDigests builds every example as it is, with the Dockerfile frontend in
// kiln, and again with a full provenance, for which the daemon's own frontend
// reads the Dockerfiles. But for the provenance, the images are the same.
func TestDigests(t *testing.T) {
	for _, tt := range everyExample() {
		t.Run(tt.dir, func(t *testing.T) {
			dir := filepath.Join("examples", tt.dir)
			plain := manifests(t, build(t, dir, tt.args...))
			daemon := manifests(t, build(t, dir, append(tt.args, "--provenance=mode=max")...))
			if diff := cmp.Diff(plain, daemon); diff != "" {
				t.Errorf("kiln's path (-) and the daemon's (+) make other images:\n%s", diff)
			}
			if len(plain) < tt.want {
				t.Errorf("%d images were compared, want %d: %v", len(plain), tt.want, plain)
			}
		})
	}
}

// An example is one of the directories here, and the arguments that build it
// without a registry.
type example struct {
	dir  string
	args []string
	want int // images
}

func everyExample() []example {
	return []example{
		{"hello", []string{"hello"}, 1},
		{"scratch", []string{"shop", "--allow", "fs.read=../../bin"}, 6},
		{"python-web", []string{"-f", "build.hcl", "-f", "offline.hcl", "--allow", "fs.read=*", "web"}, 1},
		{"monorepo", offline("tools"+golang, "python-base-*"+python), 12},
		{"release", offline("greet-*" + golang), 3},
	}
}

// manifests returns for every target with an image the digests of its
// manifests, without those of attestations.
func manifests(t *testing.T, b built) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for line := range strings.Lines(b.stdout) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 || !strings.HasPrefix(f[2], "sha256:") {
			continue
		}
		out[f[0]] = manifestsOf(t, f[2])
	}
	return out
}

func manifestsOf(t *testing.T, digest string) []string {
	t.Helper()
	var index v1.IndexManifest
	text := readFile(t, shared.state, "images", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
	if err := json.Unmarshal([]byte(text), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) == 0 { // the image itself
		return []string{digest}
	}
	var out []string
	for _, d := range index.Manifests {
		if d.Platform == nil || d.Platform.OS != "unknown" {
			out = append(out, d.Digest.String())
		}
	}
	slices.Sort(out)
	return out
}
