package buildkit_test

import (
	"testing"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/graph"
)

func TestDoing(t *testing.T) {
	n := &graph.Node{Target: &config.Target{
		Name: "api", Context: local("services/api"), Tags: []string{"registry.example/api:1"},
		Contexts: []config.NamedSource{{Name: "lib", From: local("lib")}, from("base", "base")},
		Outputs:  []config.Export{{Type: "local", Dest: "out"}},
	}}
	for _, tt := range []struct{ name, part, want string }{
		{"[linux/amd64 build 2/5] RUN make all", "", "running make all"},
		{"[2/5] RUN --mount=type=secret,id=x make", "", "running --mount=type=secret,id=x make"},
		{"[build 1/5] FROM docker.io/library/golang:1.27@sha256:abc", "", "pulling docker.io/library/golang:1.27 from docker.io"},
		{"[1/2] FROM registry.example:5000/base", "", "pulling registry.example:5000/base from registry.example:5000"},
		{"[internal] load metadata for docker.io/library/golang:1.27", "", "asking for the metadata of docker.io/library/golang:1.27 from docker.io"},
		{"resolve image config for docker-image://docker.io/docker/dockerfile:1", "", "asking for the metadata of docker.io/docker/dockerfile:1 from docker.io"},
		{"importing cache manifest from registry.example/cache:api", "", "reading cache from registry.example/cache:api"},
		{"importing cache manifest from local:123", "", "reading cache from local:123"},
		{"[internal] load build context", "transferring context:", "sending the directory services/api"},
		{"[context lib] load from client", "", "sending the directory lib"},
		{"[context base] load from client", "", "sending the directory of a context"},
		{"[auth] library/golang:pull token for registry-1.docker.io", "", "asking for a token: library/golang:pull token for registry-1.docker.io"},
		{"exporting to image", "pushing layers", "pushing registry.example/api:1, pushing layers"},
		{"exporting to oci image format", "sending tarball", "exporting to oci image format registry.example/api:1, sending tarball"},
		{"exporting to client directory", "", "exporting to client directory out"},
		{"exporting cache to registry", "", "exporting the cache to registry"},
		{"https://user:pass@files.example/x.tgz", "", "fetching https://xxxxx@files.example/x.tgz"},
		{"[3/5] COPY . .", "", "COPY . ."},
		{"something new", "", "something new"},
	} {
		if got := buildkit.Doing(n, exec.Vertex{Name: tt.name, Part: tt.part}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
