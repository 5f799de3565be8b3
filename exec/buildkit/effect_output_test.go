package buildkit_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// untar returns the files of a tar by name.
func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// manifestIn returns the only manifest of an OCI layout in a tar.
func manifestIn(t *testing.T, files map[string][]byte) ocispec.Manifest {
	t.Helper()
	var index ocispec.Index
	var m ocispec.Manifest
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(files["blobs/sha256/"+index.Manifests[0].Digest.Encoded()], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// layerFiles returns the entries of the layers of an image in a tar.
func layerFiles(t *testing.T, image []byte) []*tar.Header {
	t.Helper()
	files := untar(t, image)
	var out []*tar.Header
	for _, l := range manifestIn(t, files).Layers {
		z, err := gzip.NewReader(bytes.NewReader(files["blobs/sha256/"+l.Digest.Encoded()]))
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(z)
		for h, err := r.Next(); !errors.Is(err, io.EOF); h, err = r.Next() {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, h)
		}
	}
	return out
}

// outputEffects are those of where results go.
func outputEffects() []effect {
	const dockerfile = "\n\t\t\tdockerfile-inline = \"FROM scratch\\nCOPY word /\\n\"\n"
	word := map[string]string{"word": "w"}
	return []effect{
		{"output", "files", func(t *testing.T, l *lab) {
			var stdout bytes.Buffer
			l.opt.Stdout = &stdout
			l.files(t, map[string]string{"word": "w", "clean/old": "o", "kept/old": "o"})
			l.must(t, `target "t" {`+dockerfile+`
				output = ["short", "type=local,dest=kept", "type=local,dest=clean,mode=delete", "type=tar,dest=deep/files.tar", "-"]
			}`)
			l.contents(t, map[string]string{"short/word": "w", "kept/word": "w", "kept/old": "o", "clean/word": "w"})
			l.absent(t, "clean/old")
			for name, data := range map[string][]byte{"deep/files.tar": []byte(l.read(t, "deep/files.tar")), "-": stdout.Bytes()} {
				if got := untar(t, data); string(got["word"]) != "w" {
					t.Errorf("%s holds %v", name, slices.Sorted(maps.Keys(got)))
				}
			}
		}},
		{"output", "images in files", func(t *testing.T, l *lab) {
			l.files(t, word)
			out := l.must(t, `target "t" {`+dockerfile+`
				tags = ["team/t:1"]
				output = ["type=oci,dest=oci.tar", "type=docker,dest=docker.tar", "type=oci,dest=zstd.tar,compression=zstd,force-compression=true,oci-mediatypes=true"]
			}
			target "dir" {`+dockerfile+`
				tags = ["team/t:1"]
				output = ["type=oci,tar=false,dest=layout"]
			}`)
			oci := untar(t, []byte(l.read(t, "oci.tar")))
			if m := manifestIn(t, oci); !strings.HasSuffix(m.Layers[0].MediaType, "+gzip") && !strings.HasSuffix(m.Layers[0].MediaType, ".gzip") {
				t.Errorf("the layer is %s", m.Layers[0].MediaType)
			}
			if m := manifestIn(t, untar(t, []byte(l.read(t, "zstd.tar")))); !strings.HasSuffix(m.Layers[0].MediaType, "+zstd") {
				t.Errorf("the layer is %s", m.Layers[0].MediaType)
			}
			if docker := string(untar(t, []byte(l.read(t, "docker.tar")))["manifest.json"]); !strings.Contains(docker, `"team/t:1"`) && !strings.Contains(docker, `"docker.io/team/t:1"`) {
				t.Errorf("manifest.json is %s", docker)
			}
			if index := l.read(t, "layout/index.json"); !strings.Contains(index, out["dir"].Output.Digest) || !strings.Contains(index, "docker.io/team/t:1") {
				t.Errorf("index.json is %s", index)
			}
		}},
		{"output", "registry", func(t *testing.T, l *lab) {
			reg := newWatchedRegistry(t)
			l.files(t, word)
			out := l.must(t, strings.ReplaceAll(`target "short" {`+dockerfile+`
				tags = ["REG/short:1", "REG/short:2"]
				output = ["type=registry"]
			}
			target "long" {`+dockerfile+`
				output = ["type=image,name=REG/long:1,push=true"]
			}
			target "stays" {`+dockerfile+`
				tags = ["REG/stays:1"]
				output = ["type=image"]
			}`, "REG", reg.host))
			for ref, target := range map[string]string{"short:1": "short", "short:2": "short", "long:1": "long"} {
				if got := remoteDigest(t, reg.host+"/"+ref); got != out[target].Output.Digest {
					t.Errorf("%s is %s, the output %s", ref, got, out[target].Output.Digest)
				}
			}
			if out["stays"].Output.Digest == "" || reg.count("PUT /v2/stays/") > 0 {
				t.Error("an image output without push was pushed, or has no digest")
			}
		}},
		{"output", "engine and store", func(t *testing.T, l *lab) {
			sock := filepath.Join(t.TempDir(), "d.sock")
			loaded := serveEngine(t, sock)
			l.opt.Engines = engineAt(sock)
			l.files(t, word)
			out := l.must(t, `target "loaded" {`+dockerfile+`
				tags = ["team/t:1"]
				output = ["type=docker"]
			}
			target "stored" {`+dockerfile+`
			}
			target "none" {`+dockerfile+`
				output = ["type=cacheonly"]
			}`)
			if got := untar(t, <-loaded); got["manifest.json"] == nil {
				t.Errorf("the engine got %v", slices.Sorted(maps.Keys(got)))
			}
			if desc, err := l.store.Resolve(t.Context(), "stored"); err != nil || desc.Digest.String() != out["stored"].Output.Digest {
				t.Errorf("the store has %v, %v", desc, err)
			}
			if _, err := l.store.Resolve(t.Context(), "none"); err == nil || out["none"].Output.Digest != "" {
				t.Error("cacheonly was stored")
			}
		}},
	}
}

// serveEngine stands in for a Docker Engine that loads one image.
func serveEngine(t *testing.T, sock string) <-chan []byte {
	t.Helper()
	listener, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	loaded := make(chan []byte, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/images/load" {
			data, _ := io.ReadAll(r.Body) // what was cut off is no tar
			loaded <- data
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(listener)
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	return loaded
}
