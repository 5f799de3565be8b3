package cli

import (
	"context"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec/buildkit"
	"github.com/kilnbuild/kiln/internal/progress"
)

// dirtyTree makes a git work tree with a commit and a change.
func dirtyTree(t *testing.T) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "f"}, {"-c", "user.name=k", "-c", "user.email=k@example.com", "commit", "-q", "-m", "f"},
		{"remote", "add", "origin", "https://user:secret@example.com/r.git"}, {"rev-parse", "HEAD"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(args[0]), 0o644); err != nil {
			t.Fatal(err)
		}
		c := osexec.Command("git", args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		commit = strings.TrimSpace(string(out))
	}
	return dir, commit
}

// TestResultVariables has a row for each variable that decides on what an
// image says of its build.
func TestResultVariables(t *testing.T) {
	dir, commit := dirtyTree(t)
	for _, test := range []struct {
		env        string
		provenance bool
		revision   string // "" if nothing is said of the work tree
		labels     bool
	}{
		{"", true, commit, false},
		{"BUILDX_NO_DEFAULT_ATTESTATIONS=1", false, commit, false},
		{"BUILDX_NO_DEFAULT_ATTESTATIONS=false", true, commit, false},
		{"BUILDX_GIT_INFO=0", true, "", false},
		{"BUILDX_GIT_INFO=nonsense", true, commit, false},
		{"BUILDX_GIT_LABELS=1", true, commit, true},
		{"BUILDX_GIT_LABELS=full", true, commit, true},
		{"BUILDX_GIT_LABELS=nonsense", true, commit, false},
		{"BUILDX_GIT_CHECK_DIRTY=true", true, commit + "-dirty", false},
		{"BUILDX_GIT_CHECK_DIRTY=nonsense", true, commit, false},
	} {
		name, value, _ := strings.Cut(test.env, "=")
		a := &app{dir: dir, env: map[string]string{name: value}}
		o, err := a.lowerOptions(context.Background())
		if err != nil {
			t.Errorf("%s: %v", test.env, err)
			continue
		}
		git := o.Git
		if git == nil {
			git = &buildkit.GitInfo{}
		}
		if o.Provenance != test.provenance || git.Revision != test.revision || git.Labels != test.labels {
			t.Errorf("%s: provenance %v, revision %q, labels %v", test.env, o.Provenance, git.Revision, git.Labels)
		}
		if strings.Contains(git.Source, "secret") {
			t.Errorf("the source is %q", git.Source)
		}
	}
	for name, want := range map[string]string{
		"BUILDX_NO_DEFAULT_ATTESTATIONS":      `is "x"; it has to be true or false`,
		"BUILDX_NO_DEFAULT_OCI_ARTIFACT":      `is "x"; it has to be true or false`,
		"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "does not exist",
	} {
		a := &app{dir: dir, env: map[string]string{name: "x"}}
		if _, err := a.lowerOptions(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s=x: %v, want %q in it", name, err, want)
		}
	}
}

// TestBuilderVariables: which variable chooses the builder, and the files of buildx.
func TestBuilderVariables(t *testing.T) {
	dir := tree(t, map[string]string{
		"home/.docker/buildx/instances/there": `{"Driver":"remote","Nodes":[{"Endpoint":"tcp://there:1"}]}`,
		"docker/buildx/instances/docker":      `{"Driver":"remote","Nodes":[{"Endpoint":"tcp://docker:1"}]}`,
		"x/instances/mine":                    `{"Driver":"remote","Nodes":[{"Endpoint":"tcp://mine:1","DriverOpts":{"cacert":"ca.pem","servername":"n"}}]}`,
		"x/instances/box":                     `{"Driver":"docker-container","Nodes":[{"Name":"box0"}]}`,
		"x/instances/kube":                    `{"Driver":"kubernetes","Nodes":[{"Name":"k0"}]}`,
		"x/instances/broken":                  `{`,
		"x/instances/two":                     `{"Driver":"remote","Nodes":[{"Name":"two0","Endpoint":"tcp://one:1","Platforms":[{"architecture":"amd64","os":"linux"}]},{"Name":"two1","Endpoint":"tcp://two:1","Platforms":[{"architecture":"arm","os":"linux","variant":"v7"}]}]}`,
		"x/instances/boxes":                   `{"Driver":"docker-container","Nodes":[{"Name":"boxes0","Endpoint":"unix:///var/run/docker.sock"},{"Name":"boxes1","Endpoint":"far"}]}`,
	})
	for _, test := range []struct {
		flag string
		env  string
		want string // the address, or the error's text
	}{
		{"", "", ""},
		{"unix:///a", "KILN_BUILDER=unix:///b BUILDKIT_HOST=unix:///c", "unix:///a"},
		{"", "KILN_BUILDER=unix:///b BUILDKIT_HOST=unix:///c", "unix:///b"},
		{"", "BUILDKIT_HOST=unix:///c BUILDX_BUILDER=mine", "unix:///c"},
		{"", "BUILDX_BUILDER=there", "tcp://there:1"},
		{"", "BUILDX_BUILDER=docker DOCKER_CONFIG=" + dir + "/docker", "tcp://docker:1"},
		{"", "BUILDX_BUILDER=mine DOCKER_CONFIG=" + dir + "/docker BUILDX_CONFIG=" + dir + "/x", "tcp://mine:1"},
		{"box", "BUILDX_CONFIG=" + dir + "/x", "docker-container://buildx_buildkit_box0"},
		{"kube", "BUILDX_CONFIG=" + dir + "/x", "has the kubernetes driver"},
		{"broken", "BUILDX_CONFIG=" + dir + "/x", "can't be read"},
		{"nope", "BUILDX_CONFIG=" + dir + "/x", "neither an address"},
		{"unix:///a tcp://b:1", "KILN_BUILDERS=unix:///c", "unix:///a tcp://b:1"},
		{"", "KILN_BUILDERS=unix:///c,tcp://d:1 KILN_BUILDER=unix:///b", "unix:///c tcp://d:1"},
		{"", "KILN_BUILDERS=, KILN_BUILDER=unix:///b", "unix:///b"},
		{"kiln unix:///a", "", " unix:///a"},
		{"two unix:///a", "BUILDX_CONFIG=" + dir + "/x", "tcp://one:1 tcp://two:1 unix:///a"},
		{"boxes", "BUILDX_CONFIG=" + dir + "/x", "docker-container://buildx_buildkit_boxes0 docker-container://buildx_buildkit_boxes1?context=far"},
		{"unix:///a unix:///b unix:///a", "", "--builder names the builder unix:///a twice"},
		{"kiln kiln", "", "--builder names the builder kiln twice"},
		{"unix:///a tcp://tls:1", "KILN_TLS_CA=ca.pem KILN_TLS_SERVER_NAME=n", "unix:///a tcp://tls:1"},
	} {
		a := &app{dir: dir, env: map[string]string{"HOME": dir + "/home"}}
		for _, e := range strings.Fields(test.env) {
			name, value, _ := strings.Cut(e, "=")
			a.env[name] = value
		}
		all, err := a.choose(builderFlags{builders: strings.Fields(test.flag)})
		var addrs []string
		for _, c := range all {
			addrs = append(addrs, c.addr)
		}
		got := strings.Join(addrs, " ")
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("--builder %q, %s: %q, want %q", test.flag, test.env, got, test.want)
		}
		if strings.HasSuffix(test.flag, "tls:1") && (all[0].tls != buildkit.TLSFiles{} || all[1].tls != buildkit.TLSFiles{CA: "ca.pem", ServerName: "n"}) {
			t.Errorf("certificates: %+v, %+v", all[0].tls, all[1].tls)
		}
		if test.want == "tcp://mine:1" && (all[0].tls.CA != "ca.pem" || all[0].tls.ServerName != "n") {
			t.Errorf("certificates: %+v", all[0].tls)
		}
	}
}

// TestTerminalVariables: progress and colour without a terminal.
func TestTerminalVariables(t *testing.T) {
	for _, test := range []struct {
		flag, env string
		want      progress.Mode
		err       string
	}{
		{"auto", "", progress.Plain, ""},
		{"auto", "BUILDKIT_PROGRESS=quiet", progress.Quiet, ""},
		{"auto", "BUILDKIT_PROGRESS=rawjson", progress.RawJSON, ""},
		{"plain", "BUILDKIT_PROGRESS=quiet", progress.Plain, ""},
		{"auto", "GITHUB_ACTIONS=true", progress.CI, ""},
		{"auto", "GITLAB_CI=true", progress.CI, ""},
		{"auto", "GITHUB_ACTIONS=false", progress.Plain, ""},
		{"plain", "GITHUB_ACTIONS=true", progress.Plain, ""},
		{"auto", "BUILDKIT_PROGRESS=ci", progress.CI, ""},
		{"auto", "BUILDKIT_PROGRESS=nonsense", "", "BUILDKIT_PROGRESS"},
		{"auto", "BUILDKIT_PROGRESS=tty", "", "not a terminal"},
		{"auto", "BUILDKIT_COLORS=nonsense", progress.Plain, ""},
		{"auto", "BUILDKIT_TTY_LOG_LINES=nonsense", progress.Plain, ""},
	} {
		name, value, _ := strings.Cut(test.env, "=")
		a := &app{Streams: Streams{Err: &strings.Builder{}}, env: map[string]string{name: value}}
		got, err := a.progressMode(test.flag)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("--progress=%s %s: %q, %v", test.flag, test.env, got, err)
		}
	}
}
