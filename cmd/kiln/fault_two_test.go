package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/kilnbuild/kiln/internal/testenv"
)

const sharedDefinition = `
variable "BUSYBOX" {}
variable "HOST" {}
target "base" {
  contexts          = { bin = BUSYBOX }
  dockerfile-inline = "FROM scratch\nCOPY --from=bin busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n"
}
group "default" { targets = ["tar", "dir", "layout", "kept", "push"] }
target "common" {
  contexts          = { base = "target:base" }
  dockerfile-inline = "FROM base AS b\nRUN for i in 1 2 3 4 5 6 7 8 9; do echo $i > /file-$i; done; mkdir /r; mv /file-* /r\nFROM scratch\nCOPY --from=b /r /\n"
  cache-to          = ["type=local,dest=cache"]
  attest            = ["type=provenance,disabled=true"]
}
target "tar" {
  inherits = ["common"]
  output   = ["type=tar,dest=out.tar"]
}
target "dir" {
  inherits = ["common"]
  output   = ["type=local,dest=out"]
}
target "layout" {
  inherits = ["common"]
  output   = ["type=oci,tar=false,dest=layout"]
  tags     = ["one", "two"]
}
target "kept" {
  inherits = ["common"]
  tags     = ["kept"]
}
target "push" {
  inherits = ["common"]
  tags     = ["${HOST}/app/push:1"]
  output   = ["type=registry"]
}
`

// Kilns that build the same at the same time, into the same places, do not
// get in each other's way.
func TestSameAtOnce(t *testing.T) {
	s, f := newShell(t), newFaultyRegistry(t)
	s.env = append(s.env, "BUSYBOX="+filepath.Dir(testenv.Busybox(t)), "HOST="+f.host())
	s.write("build.hcl", sharedDefinition)
	for round := range 3 {
		var all []*running
		for range 4 {
			all = append(all, s.start("--progress=plain"))
		}
		for _, r := range all {
			if code := r.ends(); code != 0 {
				t.Errorf("round %d: exit code %d\n%s", round, code, r.text())
			}
		}
		if got := len(readTar(t, filepath.Join(s.dir, "out.tar"))); got != 9 {
			t.Errorf("out.tar has %d files", got)
		}
		if got := len(s.names("out")); got != 9 {
			t.Errorf("out has %d files", got)
		}
		for _, dir := range []string{"layout", "cache"} {
			index, err := layout.ImageIndexFromPath(filepath.Join(s.dir, dir))
			if err == nil && dir == "layout" {
				err = validate.Index(index)
			}
			if err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
		kept := s.wholeStore("docker.io/library/kept:latest")["docker.io/library/kept:latest"]
		if pushed := f.digest(t, "app/push:1"); pushed != kept {
			t.Errorf("%s was pushed, and %s kept", pushed, kept)
		}
		if got := fmt.Sprint(s.names("")); got != "[build.hcl cache layout out out.tar]" {
			t.Errorf("there is %s", got)
		}
		s.run("rm -rf out out.tar cache layout")
		if round == 1 { // with nothing cached, too
			s.run("kiln engine stop --force; rm -rf " + filepath.Join(s.stateDir(), "engine"))
		}
	}
	if left := s.ingests(); len(left) > 0 {
		t.Errorf("half written blobs are left: %v", strings.Join(left, " "))
	}
}
