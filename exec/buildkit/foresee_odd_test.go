package buildkit_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/config"
)

// oddTree is a context with what is hard to foresee in it.
func oddTree(t *testing.T) string {
	t.Helper()
	dir := files(t, t.TempDir(), map[string]string{
		"a.txt": "a", "b.txt": "b", "dir/x": "x", "dir/y": "y", "dir/sub/z": "z", "dir/sub/w.md": "w",
		"glob/a.go": "a", "glob/b.go": "b", "glob/c.md": "c", "glob/.hidden": "h",
		"with space/f 1": "f", "brack[et].txt": "b", "x-amd64/f": "1", "x-arm64/f": "2", "x-other/f": "3",
		"named/keep": "k", "named/drop": "d", "named/.dockerignore": "drop\n", "named/deep/er/f": "f",
		"made.tar": string(tarOf(t, map[string]string{"in": "t"})), "UPPER": "u",
	})
	for link, to := range map[string]string{"link": "dir", "flink": "a.txt", "dir/up": "../b.txt", "dangling": "nowhere", "chain": "flink", "glob/out": "../dir/sub"} { // each for itself
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	short, err := os.MkdirTemp("", "kiln-") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	listener, err := net.Listen("unix", filepath.Join(short, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	if err := os.Rename(filepath.Join(short, "s"), filepath.Join(dir, "socket")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestForeseeOddDockerfiles: what is foreseen is what the daemon asks for, of
// all ways in which a Dockerfile names files.
func TestForeseeOddDockerfiles(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("fetched")) }))
	t.Cleanup(web.Close)
	const everything = "*"
	for _, tt := range []struct {
		name, file, ignore string
		want               string // files, with blanks as _; "*" leaves it to the daemon
		platforms          string
	}{
		{"heredoc", "FROM scratch\nCOPY <<one <<two /\nCOPY b.txt /\none\nCOPY b.txt /\ntwo\nCOPY a.txt /\n", "", "a.txt", ""},
		{"heredoc of a step", busyboxLines + "RUN <<EOF\n: \\\nCOPY b.txt /\nEOF\n", "", "busybox", ""},
		{"parents", "FROM scratch\nCOPY --parents dir/./sub/z a.txt /p/\n", "", "a.txt dir/sub/z", ""},
		{"parents of patterns", "FROM scratch\nCOPY --parents **/*.md /p/\n", "", everything, ""},
		{"exclude", "FROM scratch\nCOPY --exclude=*.md --exclude=.h* glob /g/\n", "", everything, ""},
		{"exclude below", "FROM scratch\nCOPY --exclude=**/sub --exclude=*.txt dir named /g/\n", "", everything, ""},
		{"patterns", "FROM scratch\nCOPY gl*/[ab].go /\nCOPY */x /\n", "", everything, ""},
		{"pattern of directories", "FROM scratch\nCOPY x-a* /\n", "", "x-amd64/f x-arm64/f", ""},
		{"archive", "FROM scratch\nADD made.tar /\nADD --unpack=false made.tar /other\n", "", "made.tar", ""},
		{"address", "FROM scratch\nADD " + web.URL + "/file /\nADD a.txt /\n", "", "a.txt", ""},
		{"negation", "FROM scratch\nCOPY . /\n", "# all but\n*\n!dir\ndir/sub\n!dir/sub/z\n", "dir/sub/z dir/x dir/y", ""},
		{"negation deep down", "FROM scratch\nCOPY . /\n", "**\n!**/*.md\n", "dir/sub/w.md glob/c.md", ""},
		{"odd ignore lists", "FROM scratch\nCOPY . /\n", "\xef\xbb\xbf# comment\r\n/dir/  \r\n./glob\r\n\r\nnamed/*\r\n!/named/keep\r\nx-*\nDockerfile\n.dockerignore\n", everything, ""},
		{"links", "FROM scratch\nCOPY link/x /\nCOPY chain /\n", "", everything, ""},
		{"link to a directory", "FROM scratch\nCOPY link /l/\nCOPY glob /g/\n", "", everything, ""},
		{"link to what is ignored", "FROM scratch\nCOPY dir /d/\n", "b.txt\n", everything, ""},
		{"blanks and brackets", "FROM scratch\nCOPY [\"with space/f 1\", \"/x\"]\nCOPY brack[[]et].txt /\n", "", "brack[et].txt with_space/f_1", ""},
		{"paths written oddly", "FROM scratch\nCOPY ./../a.txt /\nCOPY /dir/sub/ /d/\nCOPY dir/../b.txt /\n", "", "a.txt b.txt dir/sub/w.md dir/sub/z", ""},
		{"everything", "FROM scratch\nCOPY ./ /\n", "", everything, ""},
		{"socket", "FROM scratch\nCOPY socket /\n", "", "socket", ""},
		{"arguments", "ARG D=dir\nFROM scratch\nARG D\nENV E=sub F=${D}\nARG G=${F}/x\nCOPY $D/${E:-other}/z ${G} /\nCOPY ${D%r}r/y /\n", "", "dir/sub/z dir/x dir/y", ""},
		{"modes", "FROM scratch\nCOPY --link --chmod=600 --chown=1:2 a.txt /\n", "", "a.txt", ""},
		{"mounts", busyboxLines + "RUN --mount=source=dir,target=/m --mount=type=bind,from=named,source=deep,target=/n true\n", "", "busybox dir/sub/w.md dir/sub/z dir/x dir/y named/deep/er/f", ""},
		{"mount of all", busyboxLines + "RUN --mount=target=/m true\n", "named\n", everything, ""},
		{"mount of a file", busyboxLines + "RUN --mount=source=a.txt,target=/m cat /m\n", "", "a.txt busybox", ""},
		{"stage by number", "FROM scratch\nCOPY a.txt /\nFROM scratch\nCOPY b.txt /\nFROM scratch\nCOPY --from=0 / /\n", "", "a.txt", ""},
		{"named with an ignore list", "FROM scratch\nCOPY --from=named / /\n", "", everything, ""},
		{"named with patterns", "FROM scratch\nCOPY --from=named --exclude=drop . /\nCOPY --from=named de* /\n", "", everything, ""},
		{"triggers of a stage", "FROM scratch AS base\nONBUILD COPY a.txt /\nFROM base\nCOPY b.txt /\n", "", everything, ""},
		{"platforms", "FROM scratch\nARG TARGETARCH\nCOPY x-$TARGETARCH /\n", "", "x-amd64/f x-arm64/f", "linux/amd64,linux/arm64"},
		{"case of names", "FROM scratch\nCOPY UPPER /\n", "upper\n", "UPPER", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := oddTree(t)
			files(t, dir, map[string]string{"Dockerfile": tt.file})
			if tt.ignore != "" {
				files(t, dir, map[string]string{".dockerignore": tt.ignore})
			}
			if strings.Contains(tt.file, "busybox") {
				withBusybox(t, dir)
			}
			target := &config.Target{Name: "a", Outputs: cacheOnly, Contexts: []config.NamedSource{{Name: "named", From: local("named")}}}
			if tt.platforms != "" {
				target.Platforms = strings.Split(tt.platforms, ",")
			}
			got := foretold(t, &session{dir: dir, targets: []*config.Target{target}})
			if tt.want != everything && strings.Join(got, " ") != tt.want {
				t.Errorf("foreseen were %v, want %s", got, tt.want)
			}
		})
	}
}

// foretold builds, and checks that the daemon asks for the files that were
// foreseen, which it returns from the directory.
func foretold(t *testing.T, s *session) []string {
	t.Helper()
	_, got := foreseen(t, s, false)
	sent := &sentFiles{}
	s.opt.Sent = sent.add
	s.must(t)
	if diff := cmp.Diff(sent.sorted(), got); diff != "" {
		t.Errorf("the daemon asked for (-), foreseen was (+):\n%s", diff)
	}
	var out []string
	for _, path := range got {
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.ReplaceAll(rel, " ", "_"))
	}
	return out
}

// TestForeseeTriggers: what a target's base, which is a target, has the
// targets copy that begin from it.
func TestForeseeTriggers(t *testing.T) {
	t.Parallel()
	onBase := []config.NamedSource{from("base", "base")}
	both := []string{"linux/amd64", "linux/arm64"}
	s := &session{dir: oddTree(t), targets: []*config.Target{
		{Name: "base", DockerfileInline: "FROM scratch\nENV SRC=glob\nONBUILD COPY a.txt /\nONBUILD COPY dir /d\n", Platforms: both, Outputs: cacheOnly},
		{Name: "app", DockerfileInline: "FROM base\nCOPY b.txt ${SRC}/a.go /\n", Contexts: onBase, Outputs: cacheOnly},
		{Name: "tool", DockerfileInline: "FROM base\nARG TARGETARCH\nCOPY x-$TARGETARCH /\n", Platforms: both, Contexts: onBase, Outputs: cacheOnly},
		{Name: "other", DockerfileInline: "FROM scratch\nCOPY --from=base a.txt /\n", Contexts: []config.NamedSource{from("base", "app")}, Outputs: cacheOnly},
	}}
	if got, want := strings.Join(foretold(t, s), " "), "a.txt b.txt dir/sub/w.md dir/sub/z dir/x dir/y glob/a.go x-amd64/f x-arm64/f"; got != want {
		t.Errorf("foreseen were %s, want %s", got, want)
	}
}

// TestForeseeLinkedContext: a context that is a symbolic link.
func TestForeseeLinkedContext(t *testing.T) {
	t.Parallel()
	s := &session{dir: oddTree(t), targets: []*config.Target{
		{Name: "a", Context: local("link"), DockerfileInline: "FROM scratch\nCOPY x sub /\n", Outputs: cacheOnly},
		{Name: "b", Context: local("dir"), DockerfileInline: "FROM scratch\nCOPY y /\n", Outputs: cacheOnly},
	}}
	foretold(t, s)
}
