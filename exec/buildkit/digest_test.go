package buildkit_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kilnbuild/kiln/config"
	"github.com/kilnbuild/kiln/internal/testenv"
)

// A feature is a Dockerfile that both paths have to make the same image of.
// In its text SH stands for the lines that give it a shell, and WEB, GIT and
// BASE for what features.world has made.
type feature struct {
	name   string
	file   string
	target config.Target
}

// dockerfileFeatures are those of instructions, by the chapters of BuildKit's
// Dockerfile reference.
var dockerfileFeatures = []feature{
	// Format and parser directives.
	{"lower case, comments, continued", "from scratch\n# a comment\ncopy word \\\n  # between\n\n  /w\nlabel a=1 \\\n b=2\n", config.Target{}},
	{"carriage returns", "FROM scratch\r\nCOPY word /w\r\nLABEL a=\\\r\n1\r\n", config.Target{}},
	{"byte order mark", "\ufeffFROM scratch\nCOPY word /w\n", config.Target{}},
	{"escape directive", "# escape=`\nFROM scratch\nCOPY word `\n /w\nENV A=c:\\dir\n", config.Target{}},
	{"check directive", "# check=skip=all;error=true\nFROM scratch as x\nCOPY word /w\n", config.Target{}},
	{"environment replacement", "FROM scratch\nENV A=abc.tar.gz B=\nENV C=${A:-x} D=${B:-y} E=${A:+z} F=${A#*.} G=${A##*.} H=${A%.*} I=${A%%.*} J=${A/a/b} K=\\$A L='$A'\nCOPY word /${A}\n", config.Target{}},
	{"forms", "SHRUN [\"/bin/sh\", \"-c\", \"echo $0 > /a\"]\nRUN echo shell \\\n && echo more > /b\nCMD [\"a\", \"b\"]\nENTRYPOINT [\"c\"]\n", config.Target{}},
	{"shell forms", "FROM scratch\nENTRYPOINT exec top -b\nCMD echo $HOME\n", config.Target{}},
	{"shell", "SHSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo $- > /flags\nCMD x\n", config.Target{}},
	// FROM and ARG.
	{"global arguments", "ARG BASE=scratch\nARG V=1\nFROM ${BASE} AS one\nARG V\nLABEL v=$V\nCOPY word /$V\nFROM one\nARG V=3\nARG W\nLABEL w=$V$W\n", config.Target{Args: kv("V", "2", "W", "w")}},
	{"unused stage", "FROM nosuch.invalid/image AS unused\nRUN false\nFROM scratch AS used\nCOPY word /w\n", config.Target{}},
	{"stage by number", "FROM scratch\nCOPY word /w\nFROM scratch\nCOPY --from=0 /w /x\n", config.Target{}},
	{"platform arguments", "FROM --platform=$BUILDPLATFORM scratch AS b\nARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nARG TARGETVARIANT\nARG BUILDPLATFORM\nARG BUILDARCH\nCOPY word /$TARGETOS-$TARGETARCH$TARGETVARIANT\nLABEL t=$TARGETPLATFORM b=$BUILDPLATFORM$BUILDARCH\nFROM scratch\nARG TARGETPLATFORM\nLABEL t=$TARGETPLATFORM\nCOPY --from=b / /\n",
		config.Target{Platforms: []string{"linux/amd64", "linux/arm64", "linux/arm/v7"}}},
	{"fixed platform", "FROM --platform=linux/arm64 BASE\nCOPY word /w\n", config.Target{}},
	{"by digest", "FROM BASE@DIGEST\nCOPY word /w\n", config.Target{}},
	{"predefined arguments", "SHRUN echo $HTTP_PROXY$no_proxy > /p\n", config.Target{Args: kv("HTTP_PROXY", "http://p.invalid", "no_proxy", "*")}},
	{"built-in arguments", "SHRUN --mount=type=cache,target=/c hostname > /h; echo x >> /c/f\n", config.Target{Args: kv("BUILDKIT_SANDBOX_HOSTNAME", "kilnhost", "BUILDKIT_CACHE_MOUNT_NS", "ns", "BUILDKIT_BUILD_NAME", "n")}},
	{"built-in frontend", "# syntax=nosuch.invalid/frontend:1\nFROM scratch\nCOPY word /w\n", config.Target{Args: kv("BUILDKIT_SYNTAX", "dockerfile.v0")}},
	// RUN.
	{"bind mounts", "FROM scratch AS s\nCOPY word /from-stage\nSHRUN --mount=type=bind,source=deep,target=/d --mount=type=bind,from=s,target=/s --mount=from=extra,target=/e,rw --mount=type=bind,target=/all cat /d/file /s/from-stage /e/file /all/word > /out\n",
		config.Target{Contexts: []config.NamedSource{{Name: "extra", From: local("named")}}}},
	{"cache mounts", "FROM scratch AS s\nCOPY deep /seed\nSHRUN --mount=type=cache,id=digest-a,target=/c,sharing=locked,from=s,source=/seed,mode=0700,uid=3,gid=4 ls -ln / | grep ' c$' | cut -c1-10 > /mode\nRUN --mount=type=cache,target=/private,sharing=private --mount=type=cache,target=/ro,ro touch /private/x\n", config.Target{}},
	{"tmpfs mount", "SHRUN --mount=type=tmpfs,target=/t,size=1m df /t | tail -n 1 | cut -c1-5 > /out\n", config.Target{}},
	{"secret mounts", "SHRUN --mount=type=secret,id=tok,target=/t,mode=0444,uid=1 --mount=type=secret,id=tok,env=TOK --mount=type=secret,id=none wc -c < /t > /n\n", config.Target{Secrets: []config.Secret{{ID: "tok", Src: "word"}}}},
	{"ssh mount", "SHRUN --mount=type=ssh,id=k,target=/s test -S /s\nRUN --mount=type=ssh,id=none true\n", config.Target{SSH: []config.SSH{{ID: "k", Paths: []string{"key"}}}}},
	{"run network and security", "SHRUN --network=none true\nRUN --network=host true\nRUN --security=insecure true\nRUN --security=sandbox true\n", config.Target{Entitlements: []string{"network.host", "security.insecure"}}},
	{"users and directories", "SHRUN mkdir -p /etc && echo 'me:x:7:8::/:/bin/sh' > /etc/passwd && echo 'us:x:9:' > /etc/group\nUSER me:us\nWORKDIR /w\nWORKDIR deeper\nRUN pwd > /tmp-$$ 2>/dev/null || pwd\nUSER 5\nCOPY --chown=me:us word copied\nCOPY --chown=11:12 deep deep\nADD --chown=me word added\n", config.Target{}},
	// COPY.
	{"copy patterns", "FROM scratch\nCOPY *.txt one/\nCOPY [ab].t?t two/\nCOPY [\"with space\", \"word\", \"/three/\"]\nCOPY deep/* /four/\nCOPY deep/ /five\nCOPY ./links /six\n", config.Target{}},
	{"copy link", "FROM scratch AS s\nCOPY --link word /s\nFROM scratch\nCOPY --link --from=s /s /a/b/\nCOPY --link --chmod=755 --chown=3:4 deep /d\n", config.Target{}},
	{"copy parents", "FROM scratch\nCOPY --parents deep/more/file deep/./more lib /p/\nCOPY --parents **/file /all/\n", config.Target{}},
	{"copy exclude", "FROM scratch\nCOPY --exclude=*.txt --exclude=skip --exclude=**/file . /e/\nADD --exclude=more deep /a/\n", config.Target{}},
	{"copy modes", "FROM scratch\nCOPY --chmod=0640 word /a\nCOPY --chmod=u=rwX,go=rX deep /b\nCOPY --chmod=g+w word /c\n", config.Target{}},
	{"copy from", "FROM scratch AS s\nCOPY word /s\nFROM scratch\nCOPY --from=s /s /1\nCOPY --from=extra file /2\nCOPY --from=BASE /word /3\n", config.Target{Contexts: []config.NamedSource{{Name: "extra", From: local("named")}}}},
	// ADD.
	{"add archives", "FROM scratch\nADD a.tar /plain/\nADD --unpack=false a.tar /packed/\nCOPY a.tar /copied/\n", config.Target{}},
	{"add web", "FROM scratch\nADD WEB/file /f\nADD --checksum=sha256:FILESUM --chmod=600 --chown=1:2 WEB/file /g/\nADD --unpack=true WEB/a.tar /u/\nADD --link WEB/file /l\n", config.Target{}},
	{"add git", "FROM scratch\nADD GIT/r.git#main /r\nADD --keep-git-dir=false --checksum=COMMIT GIT/r.git#COMMIT:sub /s\nADD --exclude=sub GIT/r.git?branch=main /q\n", config.Target{}},
	// Configuration.
	{"environment and labels", "FROM scratch\nENV OLD style value\nENV A=1 B=\"two words\" C=\"$A\"\nLABEL a=1 \"b c\"=\"d\\\n e\" a=2\nMAINTAINER me\n", config.Target{Labels: kv("a", "3")}},
	{"ports, volumes, signal", "FROM scratch\nCOPY word /w\nEXPOSE 80 443/tcp 53/udp 8000-8003\nVOLUME /a /b\nVOLUME [\"/c d\"]\nSTOPSIGNAL 9\n", config.Target{}},
	{"health", "FROM scratch\nHEALTHCHECK --interval=5s --timeout=1s --start-period=2s --start-interval=1s --retries=4 CMD [\"a\"]\n", config.Target{}},
	{"no health", "FROM scratch\nHEALTHCHECK CMD a\nFROM scratch\nHEALTHCHECK NONE\n", config.Target{}},
	{"onbuild", "FROM scratch AS b\nONBUILD ARG X=1\nONBUILD COPY word /on-$X\nONBUILD RUN x\nLABEL l=1\n", config.Target{}},
	{"onbuild of a base", "FROM BASE AS s\nCOPY word /w\nFROM scratch\nCOPY --from=s / /\n", config.Target{Args: kv("X", "2")}},
	{"onbuild of a stage", "FROM scratch AS b\nONBUILD COPY word /on\nFROM b\nLABEL x=1\n", config.Target{}},
	// Here-documents.
	{"here-documents", "SHRUN <<EOF\nset -e\necho a > /a\necho $PATH > /p\nEOF\nRUN <<EOF sh -x\necho piped > /b\nEOF\nRUN <<-'ONE' cat > /c; cat <<TWO > /d\n\t\tindented $PATH\nONE\nsecond $PATH\nTWO\nRUN <<EOF\n#!/bin/sh\necho script > /e\nEOF\n", config.Target{}},
	{"here-documents of COPY", "FROM scratch\nARG A=x\nCOPY <<one <<\"two\" /dir/\nis $A\none\nis not $A\ntwo\nADD --chmod=755 <<EOF /bin/run\n#!/bin/$A\nEOF\nCOPY --chown=1 <<-EOF /t\n\ttabs\nEOF\n", config.Target{}},
}

// features.world is what features read.
func featureWorld(t *testing.T) (dir string, names *strings.Replacer) {
	t.Helper()
	base := newRegistry(t) + "/base:1"
	digest := pushFiles(t, base, map[string]string{"word": "base\n"}, v1.Config{Env: []string{"FROM=base"}, WorkingDir: "/base", OnBuild: []string{"ARG X=1", "COPY word /onbuild-$X"}})
	archive := tarOf(t, map[string]string{"in/file": "packed\n", "run!": "#!/bin/sh\n"})
	web := serveFiles(t, map[string][]byte{"/file": []byte("web\n"), "/a.tar": archive})
	git := testenv.NewGitServer(t)
	commit := git.Commit(t, "r", "main", map[string]string{"top": "top\n", "sub/file": "sub\n"})
	sum := sha256.Sum256([]byte("web\n"))
	dir = withBusybox(t, files(t, t.TempDir(), map[string]string{
		"word": "word\n", "a.txt": "a\n", "b.txt": "b\n", "with space": "s\n", "deep/file": "file\n", "deep/more/file": "more\n", "lib/x!": "x\n", "skip/file": "no\n",
		"links/real": "real\n", "named/file": "named\n", "a.tar": string(archive), "key": sshKey(t),
	}))
	for link, to := range map[string]string{"links/to": "real", "links/up": "../word", "links/gone": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, strings.NewReplacer("SHRUN", busyboxLines+"RUN", "SHSHELL", busyboxLines+"SHELL", "FROM BASE@DIGEST", "FROM "+strings.TrimSuffix(base, ":1")+"@"+digest, "FROM BASE", "FROM "+base,
		"linux/arm64 BASE", "linux/arm64 "+base, "from=BASE", "from="+base, "WEB", web, "FILESUM", hex.EncodeToString(sum[:]), "GIT/", git.URL+"/", "COMMIT", commit)
}

// TestDockerfileFeatures: kiln's path and the daemon's make the same image of
// every feature of Dockerfiles.
func TestDockerfileFeatures(t *testing.T) {
	dir, names := featureWorld(t)
	for _, f := range dockerfileFeatures {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.target.DockerfileInline = names.Replace(f.file)
			(&session{dir: dir}).bothPaths(t, &f.target)
		})
	}
}

// TestIgnoreFiles: both paths leave out of the context what .dockerignore, or
// the list of a Dockerfile, says.
func TestIgnoreFiles(t *testing.T) {
	for name, list := range map[string]string{
		"plain":        "skip\n*.txt\n",
		"comments":     "# comment\n\n  skip  \n/lib\nlib/\n",
		"anywhere":     "**/file\n",
		"exceptions":   "*\n!deep\n!w*\ndeep/more\n!deep/more/file\n",
		"itself":       "Dockerfile\n.dockerignore\nnosuch\n",
		"all":          "**\n!word\n",
		"dots":         "./skip\n../x\nlib/../deep\n",
		"byte order":   "\ufeffskip\n",
		"carriage":     "skip\r\ndeep\r\n",
		"single chars": "?.txt\n[lm]ib\n",
	} {
		for _, specific := range []bool{false, true} {
			sub := name
			tree := map[string]string{"word": "w\n", "a.txt": "a\n", "deep/file": "f\n", "deep/more/file": "m\n", "lib/x": "x\n", "skip/file": "s\n", "my.Dockerfile": "FROM scratch\nCOPY . /\n", "Dockerfile": "FROM scratch\n"}
			if specific {
				sub += " of a Dockerfile"
				tree[".dockerignore"], tree["my.Dockerfile.dockerignore"] = "word\n", list
			} else {
				tree[".dockerignore"] = list
			}
			t.Run(sub, func(t *testing.T) {
				t.Parallel()
				(&session{dir: files(t, t.TempDir(), tree)}).bothPaths(t, &config.Target{Dockerfile: "my.Dockerfile"})
			})
		}
	}
}

// TestIndependentDigests: with a fixed time the images are the same also where
// each path ran the steps for itself, on a daemon that kept nothing.
func TestIndependentDigests(t *testing.T) {
	dir, names := featureWorld(t)
	for _, platforms := range [][]string{nil, {"linux/amd64", "linux/arm64"}} {
		target := &config.Target{
			DockerfileInline: names.Replace("FROM --platform=$BUILDPLATFORM scratch AS b\nCOPY busybox /bin/sh\nENV PATH=/bin\nRUN <<EOF\nmkdir -p /out\ndate > /out/date; rm /out/date\necho a > /out/a\nEOF\n" +
				"FROM BASE\nCOPY --from=b /out /out\nCOPY --link deep /deep\nADD a.tar /tar\nCOPY <<EOF /here\nhere\nEOF\n"),
			Platforms: platforms, NoCache: true, Args: kv("SOURCE_DATE_EPOCH", "1700000000"),
			Outputs: []config.Export{{Type: "oci", Dest: "out.tar", Attrs: kv("rewrite-timestamp", "true")}},
		}
		(&session{dir: dir}).bothPaths(t, target)
	}
}
