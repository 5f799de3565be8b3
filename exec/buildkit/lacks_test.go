package buildkit

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
)

// capsBut are all capabilities but some.
func capsBut(lacking ...apicaps.CapID) apicaps.CapSet {
	var out []*apicaps.PBCap
	for _, c := range pb.Caps.All() {
		if !slices.Contains(lacking, apicaps.CapID(c.ID)) {
			out = append(out, c)
		}
	}
	return pb.Caps.CapSet(out)
}

// A step is refused on a daemon that lacks what it takes, at its place.
func TestUnsupported(t *testing.T) {
	source := llb.NewSourceMap(nil, "Dockerfile", "dockerfile", []byte("FROM scratch\nCOPY . /\n"))
	at := source.Location([]*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}})
	from := llb.Local("context")
	copied := func(info *llb.CopyInfo) llb.State {
		return llb.Scratch().File(llb.Copy(from, "/", "/x", info), at)
	}
	for _, tt := range []struct {
		name  string
		state llb.State
		caps  apicaps.CapSet
		lacks apicaps.CapID // "" is nothing
	}{
		{"all there", copied(&llb.CopyInfo{ExcludePatterns: []string{"a"}}), capsBut(), ""},
		{"nothing special", copied(&llb.CopyInfo{}), capsBut(pb.CapFileCopyIncludeExcludePatterns, pb.CapExecSecretEnv), ""},
		{"excluded", copied(&llb.CopyInfo{ExcludePatterns: []string{"a"}}), capsBut(pb.CapFileCopyIncludeExcludePatterns), pb.CapFileCopyIncludeExcludePatterns},
		{"included", copied(&llb.CopyInfo{IncludePatterns: []string{"a"}}), capsBut(pb.CapFileCopyIncludeExcludePatterns), pb.CapFileCopyIncludeExcludePatterns},
		{"required", copied(&llb.CopyInfo{RequiredPaths: []string{"a"}}), capsBut(pb.CapFileCopyRequiredPaths, pb.CapExecSecretEnv), pb.CapFileCopyRequiredPaths},
		{"secret in the environment", llb.Image("x").Run(llb.Shlex("true"), llb.AddSecretWithDest("s", nil, llb.SecretAsEnvName("S")), at).Root(), capsBut(pb.CapExecSecretEnv), pb.CapExecSecretEnv},
	} {
		def, err := tt.state.Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = unsupported(def.ToPB(), tt.caps)
		var lacking *lackingError
		switch found := errors.As(err, &lacking); {
		case tt.lacks == "" && err == nil:
		case !found || lacking.cap != tt.lacks:
			t.Errorf("%s: %v, want one of %q", tt.name, err, tt.lacks)
		default:
			if src := errdefs.Sources(err); len(src) != 1 || src[0].Ranges[0].Start.Line != 2 {
				t.Errorf("%s: it is not said where: %v", tt.name, src)
			}
		}
	}
}

// A build that a daemon has forgotten is begun again, a few times, unless
// something may have been written.
func TestAgain(t *testing.T) {
	file := []client.ExportEntry{{Type: "tar", Output: func(map[string]string) (io.WriteCloser, error) { return nil, nil }}}
	early, late, other := errors.New("NotFound: forwarding Ping: no such job x"), errors.New("no such job x"), errors.New("exit code 1")
	for _, tt := range []struct {
		name    string
		entries []client.ExportEntry
		errs    []error // one a try
		tries   int
		err     error
	}{
		{"at once", nil, []error{nil}, 1, nil},
		{"forgotten once", nil, []error{late, nil}, 2, nil},
		{"forgotten always", nil, []error{late, late, late, late, late, late}, mostForgotten, late},
		{"another error", nil, []error{other, nil}, 1, other},
		{"before a file was written", file, []error{early, nil}, 2, nil},
		{"when a file may be written", file, []error{late, nil}, 1, late},
	} {
		tries := 0
		err := again(tt.entries, func() error { tries++; return tt.errs[tries-1] })
		if tries != tt.tries || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d tries and %v, want %d and %v", tt.name, tries, err, tt.tries, tt.err)
		}
	}
}

// A daemon with one exporter a build gets a build an output.
func TestBatches(t *testing.T) {
	entries := []client.ExportEntry{{Type: "tar"}, {Type: "local", OutputDir: "out"}, {Type: mobyExporter}}
	for single, want := range map[bool]int{false: 1, true: 3} {
		if got := batches(entries, single); len(got) != want {
			t.Errorf("with single %v there are %d builds, want %d", single, len(got), want)
		}
	}
	if got := batches(nil, true); len(got) != 1 || len(got[0]) != 0 {
		t.Errorf("for a cache alone: %v", got)
	}
}
