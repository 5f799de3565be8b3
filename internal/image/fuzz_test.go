package image

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever an archive holds, it is read or refused: no panic, and nothing in
// the store that is not whole.
func FuzzImport(f *testing.F) {
	one := single(f, map[string]string{"app": "1"})
	f.Add(tarOf(f, one.layoutFiles(f, annotationName, "docker.io/library/app:1")))
	f.Add(tarOf(f, map[string]string{"manifest.json": `[{"Config":"c.json","RepoTags":["app:1"],"Layers":[]}]`, "c.json": `{"rootfs":{"type":"layers"}}`}))
	f.Add(tarWithLinks(f, map[string]string{"manifest.json": `[{"Config":"c.json","Layers":["a","b"]}]`}, map[string]string{"c.json": "c.json", "a": "../../x"}))
	f.Add(gzipped(f, []byte("no tar file")))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := newResolver(t)
		r.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(r.Dir, "x.tar"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := r.FindOutside(t.Context(), "./x.tar")
		if err != nil {
			return
		}
		for _, i := range all {
			_, _ = i.Manifests(t.Context())
			desc, err := Import(t.Context(), i, r.Store, nil, nil)
			if err != nil {
				continue
			}
			kept, err := r.Find(t.Context(), "store://"+desc.Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kept.blobs(t.Context()); err != nil {
				t.Errorf("an image was imported that is not whole: %v", err)
			}
		}
	})
}
