package buildkit_test

import (
	"testing"

	"github.com/kilnbuild/kiln/config"
)

func TestLinkedTargets(t *testing.T) {
	dir := files(t, t.TempDir(), map[string]string{
		"word":            "hello\n",
		"base.Dockerfile": "FROM scratch\nCOPY word /word\nARG W\nENV W=$W\nWORKDIR /there\n",
		"mid.Dockerfile":  "FROM base\nCOPY --from=base /word copy\n",
		"top.Dockerfile":  "FROM scratch\nCOPY --from=mid /there/copy /out\nCOPY --from=base /word /out2\n",
	})
	s := &session{dir: dir, names: []string{"top"}, targets: []*config.Target{
		{Name: "base", Dockerfile: "base.Dockerfile", Args: []config.KeyValue{{Key: "W", Value: "1"}}},
		{Name: "mid", Dockerfile: "mid.Dockerfile", Contexts: []config.NamedSource{from("base", "base")}},
		{Name: "top", Dockerfile: "top.Dockerfile", Contexts: []config.NamedSource{from("base", "base"), from("mid", "mid")}, Outputs: toDir("out")},
	}}
	s.must(t)
	for _, name := range []string{"out", "out2"} {
		if got := read(t, dir, "out", name); got != "hello\n" {
			t.Errorf("%s = %q", name, got)
		}
	}
}
